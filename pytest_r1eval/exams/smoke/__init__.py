"""The smoke benchmark: forty arithmetic problems small enough for a checkpoint that fits in a repository."""
