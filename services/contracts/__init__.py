"""The published language: one module per publishing service, with its commands and events; errors."""
