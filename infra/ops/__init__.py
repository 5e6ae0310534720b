"""The operator's commands: `python -m infra.ops doctor | key | outputs | destroy`.

Which account and region: as for every AWS tool, from the environment (`AWS_PROFILE`, `AWS_REGION`, …);
`AWS_ENDPOINT_URL` leads all of it to an emulator.
"""
