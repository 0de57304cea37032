"""An OpenAI-compatible server as an engine: its key, what goes over the wire, and the client."""
