"""FlowHash: accelerating audio search with balanced hashing via normalizing flow, 2024."""
