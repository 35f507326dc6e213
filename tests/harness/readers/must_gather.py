# What must-gather-parser, by the author of omc, finds in an unpacked bundle: argument 1 is the folder, argument 2 a JSON
# list of questions; the answers are a JSON list on standard output.
#   {"plural": …, "group": …, "namespace": … or null}  ->  a List, as `omc get` prints it
#   {"logs": [namespace, pod, container]}              ->  lines, as `omc logs` prints them
import asyncio
import json
import sys

from must_gather_parser import MustGather


async def answer(bundle, question):
    if "logs" in question:
        return [line async for line in bundle.logs_pod(*question["logs"])]
    return await bundle.get_resources(
        resource_kind_plural=question["plural"], group=question["group"], namespace=question["namespace"]
    )


async def main(folder, questions):
    bundle = MustGather()
    try:
        await bundle.use(folder)
        return [await answer(bundle, question) for question in questions]
    finally:
        bundle.close()


if __name__ == "__main__":
    json.dump(asyncio.run(main(sys.argv[1], json.loads(sys.argv[2]))), sys.stdout)
