"""What the service says about itself: `metrics`, `logs` and `traces`, each in one module.

Only here are prometheus_client, structlog and opentelemetry known.
"""
