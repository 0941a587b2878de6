"""GET requests: models, documents, probes, BentoML's pages, and unknown paths."""

from tests.recorded.case import Case, Maker

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
    make = Maker("pages")
    for name, path in PAGES.items():
        make.get(name, path)
    for method in ("HEAD", "OPTIONS", "PUT", "POST", "DELETE"):
        for name in ("models", "model-stars", "livez", "readyz", "docs-json"):
            if (name, method) != ("model-stars", "HEAD"):  # its length depends on measurements of the server
                make.get(f"{name}-{method.lower()}", PAGES[name], method=method)
        if method != "HEAD":  # whose length differs each time
            make.get(f"metrics-{method.lower()}", "/metrics", method=method)
    make.get("schema-json-head", "/schema.json", method="HEAD")  # other methods: the order in `Allow` is random there
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
        make.get(f"path-{name}", path)
    for method in ("POST", "DELETE", "OPTIONS", "HEAD"):
        make.get(f"unknown-{method.lower()}", "/nothing/here", method=method)
    make.get("id", "/livez", x_request_id="my-own-id")
    make.get("id-none", "/livez", x_request_id="")
    make.get("traceparent", "/models", traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    make.get("accept-html", "/models", accept="text/html")
    for name in ("models", "docs-json", "schema-json"):
        make.get(f"{name}-small", PAGES[name], server="small")
    make.get("models-batching", "/models", server="batching")
    make.get("model-stars-batching", "/models/stars", server="batching")
    make.get("model-not-served", "/models/homes", server="batching")
    return make.made
