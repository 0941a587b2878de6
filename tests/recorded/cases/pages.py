"""Requests for model pages, API documents, probes, BentoML's pages, and unknown paths."""

from tests.recorded.case import Case, CaseBuilder

PAGES = {
    "models": "/models",
    **{
        f"model-{name}": f"/models/{name}"
        for name in ("numbers", "homes", "income", "stars", "sizes", "flags", "single")
    },
    "livez": "/livez",
    "readyz": "/readyz",
    "docs-json": "/docs.json",
    "schema-json": "/schema.json",
}


def cases() -> list[Case]:
    builder = CaseBuilder("pages")
    for name, path in PAGES.items():
        builder.get(name, path)
    for method in ("HEAD", "OPTIONS", "PUT", "POST", "DELETE"):
        for name in ("models", "model-stars", "livez", "readyz", "docs-json"):
            if (name, method) != ("model-stars", "HEAD"):  # the content length depends on measurements of the server
                builder.get(f"{name}-{method.lower()}", PAGES[name], method=method)
        if method != "HEAD":  # the content length of HEAD /metrics varies
            builder.get(f"metrics-{method.lower()}", "/metrics", method=method)
    # HEAD only: with other methods the order in `Allow` is random
    builder.get("schema-json-head", "/schema.json", method="HEAD")
    for name, path in {
        "near-model": "/models/star",
        "far-model": "/models/qqqq",
        "no-model": "/models/",
        "below-model": "/models/stars/1",
        "unknown": "/nothing/here",
        "unknown-query": "/nothing?x=1",
        "docs": "/docs",
        "healthz": "/healthz",
        "favicon": "/favicon.ico",
        "long": "/" + "x" * 400,
        "not-ascii": "/gr%C3%B6%C3%9Fe",
        "not-utf8": "/%ff",
        "dots": "/models/../livez",
        "slashes": "//models",
        "query": "/models?x=1",
        "slash": "/livez/",
    }.items():
        builder.get(f"path-{name}", path)
    for method in ("POST", "DELETE", "OPTIONS", "HEAD"):
        builder.get(f"unknown-{method.lower()}", "/nothing/here", method=method)
    builder.get("id", "/livez", x_request_id="my-own-id")
    builder.get("id-none", "/livez", x_request_id="")
    builder.get("traceparent", "/models", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    builder.get("accept-html", "/models", accept="text/html")
    for name in ("models", "docs-json", "schema-json"):
        builder.get(f"{name}-small", PAGES[name], server="small")
    builder.get("models-batching", "/models", server="batching")
    builder.get("model-stars-batching", "/models/stars", server="batching")
    builder.get("model-not-served", "/models/homes", server="batching")
    return builder.made
