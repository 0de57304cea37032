"""A gate as Jobs of Kubernetes: manifests, and nothing that talks to a cluster."""
