"""Makes the configured addresses answer: starts servers, worker and Flower, keeps them, and ends them."""
