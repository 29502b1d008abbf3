"""What happens to predictions: followed, put together, kept, shown and drawn."""
