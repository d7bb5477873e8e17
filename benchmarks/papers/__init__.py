"""The papers' tables: published numbers, protocols, and the runner that compares."""
