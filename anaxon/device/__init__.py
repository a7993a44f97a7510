"""Memristor technologies: programming, drift, read; elementwise."""
