"""Cloud Build on this machine: reads a build file as strictly as it can be read, and executes its steps in order.

The service itself is lenient where a mistake hurts most (a missing substitution of a trigger's build becomes empty),
so this is not: what it accepts, the service accepts. Source: Cloud Build's "Build configuration file schema" and
"Substituting variable values", 2026.
"""
