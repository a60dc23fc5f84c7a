"""What is added to zero-shot logits: memories of pictures, biases, and the search of their weights."""
