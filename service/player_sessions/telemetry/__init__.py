"""What the service says about itself: metrics, logs and traces.

This is the only room that knows prometheus_client, structlog and opentelemetry.
"""
