"""Media files: pictures and sound, in any container and codec that FFmpeg reads."""
