#!/usr/bin/env python3
"""Holds the figures of `portolan eval` against ir_measures and pytrec_eval, to four decimals.

  python3 -m venv venv && venv/bin/pip install -r bench/eval/requirements.txt
  portolan eval DB ... --runs runs --json > report.json
  venv/bin/python bench/eval/compare.py report.json runs

Both read the runs and judgments that `--runs` wrote, and know nothing of portolan. Means are over
all judged queries, one without results counts as 0 (trec_eval -c). One line a mode and measure;
exit code 1 if any two figures differ by 0.00005 or more, one is no number, or there is none to
compare.
"""
import argparse
import json
import math
import pathlib
import sys

import ir_measures
import pytrec_eval

# portolan's name: that of ir_measures, that of trec_eval, whether the run has to be cut for it.
NAMES = {
    'ndcg': ('nDCG@{k}', 'ndcg_cut_{k}', False),
    'recall': ('R@{k}', 'recall_{k}', False),
    'mrr': ('RR@{k}', 'recip_rank', True),
    'map': ('AP@{k}', 'map_cut_{k}', False),
    'p': ('P@{k}', 'P_{k}', False),
}
TOLERANCE = 5e-5


def read_qrels(path):
    qrels = {}
    for line in path.read_text(encoding='utf-8').split('\n'):
        if line:
            query, _, document, grade = line.split(' ')
            qrels.setdefault(query, {})[document] = int(grade)
    return qrels


def read_run(path):
    run = {}
    for line in path.read_text(encoding='utf-8').split('\n'):
        if line:
            query, _, document, _, score, _ = line.split(' ')
            run.setdefault(query, {})[document] = float(score)
    return run


def cut(run, k):
    """The first k of each query: scores have no ties."""
    best = lambda scores: sorted(scores.items(), key=lambda pair: -pair[1])[:k]
    return {query: dict(best(scores)) for query, scores in run.items()}


def by_ir_measures(name, k, qrels, run):
    measure = ir_measures.parse_measure(NAMES[name][0].format(k=k))
    found = {one.query_id: one.value for one in ir_measures.iter_calc([measure], qrels, run)}
    return sum(found.get(query, 0.0) for query in qrels) / len(qrels)


def by_pytrec_eval(name, k, qrels, run):
    _, trec, needs_cut = NAMES[name]
    family = trec.replace('_{k}', '')
    wanted = family if needs_cut else f'{family}.{k}'
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {wanted})
    found = evaluator.evaluate(cut(run, k) if needs_cut else run)
    key = trec.format(k=k)
    return sum(found.get(query, {}).get(key, 0.0) for query in qrels) / len(qrels)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('report', type=pathlib.Path)
    parser.add_argument('runs', type=pathlib.Path)
    args = parser.parse_args()
    report = json.loads(args.report.read_text())
    qrels = read_qrels(args.runs / 'qrels.txt')
    compared, differing, worst = 0, 0, 0.0
    print(f'{"mode":<16}  {"measure":<10}  {"portolan":>9}  {"ir_measures":>11}  {"pytrec_eval":>11}')
    for mode in report['modes']:
        run = read_run(args.runs / f'{mode["mode"]}.run')
        for measure, ours in mode.items():
            name, _, k = measure.partition('@')
            if name not in NAMES or not k:
                continue
            # JSON has no NaN.
            ours = math.nan if ours is None else ours
            theirs = [of(name, int(k), qrels, run) for of in (by_ir_measures, by_pytrec_eval)]
            differences = [abs(ours - figure) for figure in theirs]
            # NaN is smaller than nothing, so that it is wrong.
            wrong = not all(difference < TOLERANCE for difference in differences)
            compared += 1
            differing += wrong
            worst = max([worst] + differences)
            print(f'{mode["mode"]:<16}  {measure:<10}  {ours:9.6f}  {theirs[0]:11.6f}  '
                  f'{theirs[1]:11.6f}{"  DIFFERS" if wrong else ""}')
    if not compared:
        sys.exit(f'{args.report} has no figure of a known measure: nothing was compared')
    print(f'{len(qrels)} queries; the largest difference is {worst:.1e}')
    sys.exit(differing > 0)


if __name__ == '__main__':
    main()
