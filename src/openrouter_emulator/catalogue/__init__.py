"""What is on offer: models, hosts, prices."""
