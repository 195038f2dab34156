"""A published model as a conversation or an OpenAI-compatible API."""
