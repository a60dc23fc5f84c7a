"""A page in the browser: pictures into classes, tune, classify. Nothing leaves the machine."""

from .server import Server

__all__ = ['Server']
