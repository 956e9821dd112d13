"""What the index can do beside plain searches: rank by words, and sort by what documents refer to."""
