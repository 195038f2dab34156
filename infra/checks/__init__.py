"""What one field of an environment cannot tell, one module a subject. ``infra.settings_checks`` runs them all."""
