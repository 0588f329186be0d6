#!/usr/bin/env python3
"""Ingest and search against a stand-in for the model services that fails on purpose.

  python bench/standin/run.py --portolan target/release/portolan --server server.py \
      --docs docs.jsonl --queries queries.jsonl [--count 5183] [--python PYTHON] [--only clean,key]

The server takes --port, --fault STATUS:EVERY, --delay-ms, --unsorted and --key, and serves
/v1/embeddings and /v1/ranking. For each way to fail the script ingests the same documents into a
new file, compacts it, and compares it byte by byte with that of the clean run: texts, vectors and
index are the same. Then it searches, and checks that hits are those of the clean run, or that the
report says what was left out. One line a run on standard output; exit code 1 if any check fails.
"""
import argparse, hashlib, json, os, pathlib, subprocess, sys, tempfile, time, urllib.request

EMBED, RANK = 'sentence-transformers/all-MiniLM-L6-v2', 'minilm-maxsim'
KEY = 'nvapi-stand-in-canary-0123456789'
RUNS = {
    'clean': [],
    '503:3': ['--fault', '503:3'],
    '429:4': ['--fault', '429:4'],
    # Without a word about when to come back.
    '500:3': ['--fault', '500:3'],
    'delay 200': ['--delay-ms', '200'],
    'unsorted': ['--unsorted'],
    'key': ['--key', KEY],
}
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)
        print(f'  FAILED: {what}', file=sys.stderr, flush=True)


class Server:
    def __init__(self, args, flags):
        command = [args.python, str(args.server), '--port', str(args.port), *flags]
        self.process = subprocess.Popen(command, cwd=args.server.parent, stdout=subprocess.DEVNULL,
                                        # It complains of connections that are given up.
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                address = f'http://127.0.0.1:{args.port}/v1/health/ready'
                with urllib.request.urlopen(address, timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise SystemExit('the server does not start')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def portolan(args, *command, key=None, ok=True):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('NVIDIA_')}
    if key:
        environment['NVIDIA_API_KEY'] = key
    done = subprocess.run([args.portolan, '--json', *map(str, command)], env=environment,
                          capture_output=True, text=True)
    check(KEY not in done.stdout + done.stderr, 'the key is never printed')
    check((done.returncode == 0) == ok, f'{command[0]} ends with {done.returncode}: {done.stderr}')
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def search(args, db, question, *more, key=None, ok=True):
    url = f'http://127.0.0.1:{args.port}/v1'
    return portolan(args, 'search', db, question, '--embed-url', url, '--embed-model', EMBED,
                    '--rerank-url', url, '--rerank-model', RANK, '--candidates', '20', *more,
                    key=key, ok=ok)


def stage(found, name):
    return next(stage for stage in found['report']['stages'] if stage['stage'] == name)


def hits(found):
    return [(hit['id'], round(hit['score'], 5)) for hit in found['hits']]


def run(args, name, flags, folder, docs, questions, clean):
    key = KEY if '--key' in flags else None
    db, copy = folder / f'{name}.portolan', folder / f'{name}.compact.portolan'
    url = f'http://127.0.0.1:{args.port}/v1'
    with Server(args, flags):
        ingest = ['ingest', db, docs, '--embed-url', url, '--embed-model', EMBED,
                  '--batch-size', args.batch_size]
        if key:
            refused = portolan(args, *ingest, ok=False)
            check('api key' in str(refused), 'without the key the service refuses by name')
        done = portolan(args, *ingest, key=key)
        if '--fault' in flags:
            check(done['retries'] > 0, 'the faults of the server are met')
        check(done['embedded'] == args.count, f"{done['embedded']} of {args.count} are embedded")
        again = portolan(args, *ingest, key=key)
        check(again['unchanged'] == args.count, 'nothing is embedded twice')
        check(portolan(args, 'verify', db)['ok'], 'the file is whole')
        portolan(args, 'compact', db, '--to', copy)
        digest = hashlib.sha256(copy.read_bytes()).hexdigest()
        found = [search(args, db, question, key=key) for question in questions]
        if name == 'delay 200':
            late = search(args, db, questions[0], '--deadline-ms', '120', ok=False)
            check('stage embed' in late, 'an embedder that is late fails the query')
            part = search(args, db, questions[0], '--deadline-ms', str(args.embed_only_ms))
            reason = stage(part, 'rerank').get('reason', '')
            check('deadline' in reason, f'a reranker that is late is left out: {reason}')
            check(len(part['hits']) == 10 and not part['report']['reranked'], 'its hits come')
    equal = clean is None or digest == clean['digest']
    check(equal, 'every vector is equal to that of the clean run')
    reranked = sum(one['report']['reranked'] for one in found)
    for at, one in enumerate(found):
        if one['report']['reranked']:
            same = clean is None or hits(one) == clean['hits'][at]
            check(same, 'hits are those of the clean run')
        else:
            check(stage(one, 'rerank').get('reason'), 'the report says what was left out')
    retries = sum(part['retries'] for one in found for part in one['report']['stages'])
    print(f"{name:10} {done['embedded']:5} embedded in {done['took_s']:6.1f} s, model busy "
          f"{done['embedding_s']:6.1f} s, {done['requests']:4} requests, {done['retries']:3} "
          f"retries, vectors {'equal' if equal else 'DIFFERENT'}; {reranked} of {len(found)} "
          f"searches reranked, {retries} retries", flush=True)
    return {'digest': digest, 'hits': [hits(one) for one in found]}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--portolan', required=True)
    parser.add_argument('--server', required=True, type=pathlib.Path)
    parser.add_argument('--docs', required=True, type=pathlib.Path)
    parser.add_argument('--queries', required=True, type=pathlib.Path)
    parser.add_argument('--count', type=int, default=5183, help='documents; SciFact has 5183')
    parser.add_argument('--batch-size', type=int, default=50)
    parser.add_argument('--questions', type=int, default=5)
    parser.add_argument('--python', default=sys.executable)
    parser.add_argument('--port', type=int, default=8099)
    parser.add_argument('--only', default=','.join(RUNS))
    parser.add_argument('--embed-only-ms', type=int, default=600,
                        help='time in which a question is embedded but 20 passages not reranked')
    args = parser.parse_args()
    args.server = args.server.resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        docs = folder / 'docs.jsonl'
        with args.docs.open() as lines, docs.open('w') as out:
            out.writelines(line for _, line in zip(range(args.count), lines))
        with args.queries.open() as lines:
            questions = [json.loads(line)['text'] for _, line in zip(range(args.questions), lines)]
        clean = None
        for name, flags in RUNS.items():
            if name == 'clean' or name in args.only.split(','):
                result = run(args, name, flags, folder, docs, questions, clean)
                clean = clean or result
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    main()
