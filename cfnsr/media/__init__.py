"""Media files: pictures and sound of any container and codec that FFmpeg reads."""
