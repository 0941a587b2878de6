"""The base class of pages: routes for GET that respond in every state of the server."""

from service.access.caller import Access
from service.routes.route import Route


class Page(Route):
    """A page for GET, available in every state of the server."""

    protocol = "page"
    access: Access = "predict"
    methods = ("GET", "HEAD")
    allow = ("GET", "HEAD", "OPTIONS")
    always = True
