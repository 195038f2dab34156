"""The stages of a run: fetch, prepare, train, evaluate, export, publish, serve. One module each.

Every stage module has ``run(context) -> outputs``, which is idempotent, and can be called alone as
``python -m workloads.stages.NAME RUN_DIR``.
"""
