"""From a spec to sealed shards: recipes, posed bodies, labels, engines, shards and runs."""
