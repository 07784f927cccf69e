"""The datasets behind the table of Aberra et al. 2023: recipes, and ``run``, which simulates them."""
