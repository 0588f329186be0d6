#!/usr/bin/env python3
"""The retrieval agent beside single searches, on a set of questions that need several documents.

  python bench/agent/run.py --portolan target/release/portolan --set FOLDER \
      --embed-url http://127.0.0.1:8080/v1 --embed-model MODEL [--db FILE] [--delay-ms 200]

FOLDER holds docs.jsonl, queries.jsonl and qrels.tsv in BEIR's form (MuSiQue, 200 questions, for the
figures in docs/agent.md). The documents are ingested into FILE unless it is there. The agent is
driven by policy_server.py, rules instead of a model; --chat-url and --chat-model take a real one
instead. Prints a table of recall and nDCG at 10, searches, calls of the model, tokens and time per
query: dense, lexical and hybrid search, then the loop. Then the loop with --parallel 1, 2, 8 and 16
questions in flight, by words alone, with a service that answers at once and with one that takes
--delay-ms for each answer, as models do: so it is seen what the questions cost each other, and not
what a small embedding service takes. Medians of --rounds, one after the other of each.
"""
import argparse, collections, json, math, os, pathlib, resource, statistics, subprocess, sys
import tempfile, time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
RULES = 'rules-of-names'


class Rules:
    """The service without a model."""

    def __init__(self, args, delay_ms):
        self.url = f'http://127.0.0.1:{args.chat_port}/v1'
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / 'policy_server.py'), '--port', str(args.chat_port),
             '--workers', str(args.workers), '--delay-ms', str(delay_ms)])

    def __enter__(self):
        for _ in range(100):
            try:
                with urllib.request.urlopen(f'{self.url}/models', timeout=5):
                    return self
            except OSError:
                time.sleep(0.1)
        raise SystemExit('the service of the rules does not start')

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def portolan(args, *command):
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('NVIDIA_') or args.chat_url}
    done = subprocess.run([args.portolan, '--json', *map(str, command)], env=environment,
                          capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f'portolan {command[0]} failed: {done.stderr}')
    return json.loads(done.stdout)


def judgments(path):
    judged = collections.defaultdict(dict)
    for line in path.read_text().splitlines():
        query, doc, grade = line.split('\t')[:3]
        if grade.lstrip('-').isdigit() and int(grade) > 0:
            judged[query][doc] = int(grade)
    return judged


def quality(judged, found):
    """Recall and nDCG at 10 (linear gain), means over all judged queries; one not run has 0."""
    recall = ndcg = 0.0
    for query, grades in judged.items():
        ids = found.get(query, [])[:10]
        recall += sum(id in grades for id in ids) / len(grades)
        gain = sum(grades.get(id, 0) / math.log2(at + 2) for at, id in enumerate(ids))
        ideal = sorted(grades.values(), reverse=True)[:10]
        ndcg += gain / sum(grade / math.log2(at + 2) for at, grade in enumerate(ideal))
    return recall / len(judged), ndcg / len(judged)


def agent(args, url, parallel, mode):
    """A run of the loop over all queries, and how long it took."""
    command = ['agent', 'run', args.db, '--queries', args.set / 'queries.jsonl', '--chat-url', url,
               '--chat-model', args.chat_model, '--parallel', parallel, '--mode', mode,
               '--max-steps', args.max_steps]
    if mode != 'lexical':
        command += ['--embed-url', args.embed_url, '--embed-model', args.embed_model]
    begin, before = time.monotonic(), spent()
    done = portolan(args, *command)
    done['seconds'], done['cpu'] = time.monotonic() - begin, spent() - before
    return done


def spent():
    """Seconds of processors that commands which have ended took, the service not among them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def row(*cells):
    print('| ' + ' | '.join(str(cell) for cell in cells) + ' |', flush=True)


def table(args, judged, url):
    row('', 'recall@10', 'nDCG@10', 'searches', 'model calls', 'tokens', 'ms per query')
    row('---', *['---:'] * 6)
    single = portolan(args, 'eval', args.db, '--queries', args.set / 'queries.jsonl', '--qrels',
                      args.set / 'qrels.tsv', '--mode', 'dense,lexical,hybrid', '--embed-url',
                      args.embed_url, '--embed-model', args.embed_model)
    single = {mode['mode']: mode for mode in single['modes']}
    for name, mode in single.items():
        row(f'{name}, one search', f"{mode['recall@10']:.4f}", f"{mode['ndcg@10']:.4f}", 1, 0, 0,
            f"{mode['ms_per_query']:.0f}")
    done = agent(args, url, 1, 'hybrid')
    found = {one['query_id']: one['ids'] for one in done['results']}
    recall, ndcg = quality(judged, found)
    count = max(1, done['queries'])
    row(f'loop of {args.chat_model}, hybrid', f'{recall:.4f}', f'{ndcg:.4f}',
        f"{done['retrievals'] / count:.1f}", f"{done['steps'] / count:.1f}",
        f"{(done['prompt_tokens'] + done['completion_tokens']) / count:.0f}",
        f"{1000 * done['seconds'] / count:.0f}")
    asked = (args.set / 'queries.jsonl').read_text().splitlines()
    asked = [query for query in (json.loads(line)['_id'] for line in asked) if query in judged]
    halves = [{query: judged[query] for query in asked[at::2]} for at in (0, 1)]
    even, odd = (f'{quality(half, found)[0]:.4f}' for half in halves)
    gain = 100 * (recall - single['hybrid']['recall@10'])
    print(f"\nloop over hybrid: {gain:+.1f} points of recall@10; questions 1, 3, 5, .. {even}, the "
          f"others {odd}; results from {done['sources']}, failures {done['failures']}\n",
          flush=True)


def flights(args, url, what):
    """So many questions in flight, in turn, so that a machine whose speed drifts is as unfair to
    all; medians over the rounds."""
    runs = collections.defaultdict(list)
    for _ in range(args.rounds):
        for parallel in args.parallel:
            done = agent(args, url, parallel, 'lexical')
            each = sum(one['took_ms'] for one in done['results']) / max(1, done['queries'])
            searches = sum(one['retrievals'] for one in done['results'])
            runs[parallel].append((done['seconds'], done['cpu'], each, searches))
    for parallel, rounds in runs.items():
        seconds, cpu, each, searches = map(statistics.median, zip(*rounds))
        spread = f'{min(rounds)[0]:.1f} to {max(rounds)[0]:.1f}'
        row(what, parallel, f'{seconds:.1f} ({spread})', f'{cpu:.1f}', f'{each:.0f}', searches)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--portolan', required=True)
    parser.add_argument('--set', required=True, type=pathlib.Path)
    parser.add_argument('--embed-url', required=True)
    parser.add_argument('--embed-model', required=True)
    parser.add_argument('--db', type=pathlib.Path)
    parser.add_argument('--chat-url')
    parser.add_argument('--chat-model', default=RULES)
    parser.add_argument('--chat-port', type=int, default=8200)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--max-steps', type=int, default=12)
    parser.add_argument('--delay-ms', type=int, default=200)
    parser.add_argument('--parallel', type=lambda text: [int(one) for one in text.split(',')],
                        default=[1, 2, 8, 16])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--only-table', action='store_true')
    args = parser.parse_args()
    judged = judgments(args.set / 'qrels.tsv')
    with tempfile.TemporaryDirectory() as folder:
        args.db = args.db or pathlib.Path(folder) / 'set.portolan'
        if not args.db.exists():
            portolan(args, 'ingest', args.db, args.set / 'docs.jsonl', '--embed-url',
                     args.embed_url, '--embed-model', args.embed_model)
        if args.chat_url:
            table(args, judged, args.chat_url)
            return
        with Rules(args, 0) as rules:
            table(args, judged, rules.url)
        if args.only_table:
            return
        row('by words alone, all questions', 'in flight', 'seconds', 'CPU seconds of portolan',
            'ms per question', 'searches')
        row('---', *['---:'] * 5)
        with Rules(args, 0) as rules:
            flights(args, rules.url, 'rules that answer at once')
        with Rules(args, args.delay_ms) as rules:
            flights(args, rules.url, f'rules that take {args.delay_ms} ms')


if __name__ == '__main__':
    main()
