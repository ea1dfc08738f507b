"""Rendered sound events: the corpus, and how an event sounds."""

from datamodules.rendered_events.corpus import RenderedEvents

__all__ = ["RenderedEvents"]
