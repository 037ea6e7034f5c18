rm -f "$started"
