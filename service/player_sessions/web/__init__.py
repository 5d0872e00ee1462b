"""HTTP: the only room that knows Litestar and uvicorn's protocol."""
