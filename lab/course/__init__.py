"""The exercises, their checks, what a student wrote, and how far they got."""
