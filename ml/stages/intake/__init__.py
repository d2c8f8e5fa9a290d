"""What `ingest` and `quarantine` are made of: deliveries, their judgement, revisions, receipts."""
