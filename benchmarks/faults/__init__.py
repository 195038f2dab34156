"""``make faults``: what faults cost a training by tunery, and by plain llamafactory-cli."""
