"""Manifests of Kubernetes: valid by the published models, and their scripts judge."""
