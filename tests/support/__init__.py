"""What tests share: databases, a served app, accounts."""
