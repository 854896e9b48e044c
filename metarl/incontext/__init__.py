"""Learning in context: contexts, decision-pretrained transformers, their deployment, and their rivals."""
