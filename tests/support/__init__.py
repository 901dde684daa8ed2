"""What tests share: services, databases, clusters, planted data, manifests."""
