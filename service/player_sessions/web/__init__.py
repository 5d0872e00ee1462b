"""HTTP: the only room that knows Litestar and httptools."""
