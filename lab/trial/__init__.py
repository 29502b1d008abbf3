"""Predictions sent and things broken on purpose, and a verdict over what happened."""

# Names in the environment:
TASK, QUEUE, TRUTH, SETTINGS = "LAB_TRIAL_TASK", "LAB_TRIAL_QUEUE", "LAB_TRIAL_TRUTH", "LAB_TRIAL_SETTINGS"
DEFAULTS = "defaults"  # what SETTINGS says for Celery's own settings instead of those of celeryconfig.py
ID = "trial-id"  # the header that names a message of a trial, even one without an id
