"""How batches are computed: over several processes, and in which precision."""
