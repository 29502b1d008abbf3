"""The bench that the exercises stand on: servers, worker and Flower as one, and facts about them."""
