"""What crosses a process boundary: settings, artifact, score record, dead letter. Imports nothing of ours."""
