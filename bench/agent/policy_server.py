#!/usr/bin/env python3
"""A chat service without a model: answers a retrieval agent by the rules of policy.py.

  python bench/agent/policy_server.py --port 8200 [--workers 2] [--delay-ms 0]

POST /v1/chat/completions in OpenAI's form. It reads the question and all results out of the
conversation, and answers with calls of `retrieve`, or of `final_results` at the end: the same
conversation gets the same answer, and the server keeps nothing. --delay-ms waits before each
answer, as a model on another machine takes its time; --workers are processes that share the port.
"""
import argparse, json, os, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import policy

MODEL = 'rules-of-names'
HEADING = re.compile(r'^Query:\n(.*?)\n\nRetrieved Documents[^\n]*\n', re.S | re.M)


class Refused(Exception):
    pass


def documents(observation):
    """The documents of an observation: one JSON object a line, notes left out."""
    found = []
    for line in observation.splitlines():
        try:
            doc = json.loads(line)
        except ValueError:
            continue
        if isinstance(doc, dict) and isinstance(doc.get('id'), str):
            found.append(doc)
    return found


def conversation(messages):
    """The question, and the searches with what they have shown."""
    question, searches, pending = None, [], {}
    for message in messages:
        text = message.get('content') or ''
        if message['role'] == 'user' and question is None:
            match = HEADING.search(text)
            if match is None:
                raise Refused('there is no question with its first results')
            question = match.group(1)
            searches.append((question, documents(text[match.end():])))
        for call in message.get('tool_calls') or ():
            if call['function']['name'] == 'retrieve':
                pending[call['id']] = json.loads(call['function']['arguments'])['query']
        if message['role'] == 'tool' and message.get('tool_call_id') in pending:
            searches.append((pending.pop(message['tool_call_id']), documents(text)))
    if question is None:
        raise Refused('there is no question')
    return question, searches


def wanted(tools):
    """How many ids the agent wants, as the schema of its function says."""
    final = [tool['function'] for tool in tools if tool['function']['name'] == 'final_results']
    number = re.search(r'\d+', json.dumps(final[0]['parameters'])) if final else None
    if number is None:
        raise Refused('no function final_results that says how many ids are wanted')
    return int(number.group())


def answer(body):
    question, searches = conversation(body.get('messages') or [])
    plan = policy.Plan(question, searches)
    queries, count = plan.next(), wanted(body.get('tools') or [])
    if queries:
        calls = [('retrieve', {'query': query, 'top_k': policy.TOP_K}) for query in queries]
    else:
        shown = plan.order(count)
        calls = [('final_results', {'doc_ids': shown, 'search_successful': 'partial',
                                    'message': f'{len(searches)} searches by names'})]
    made = [{'id': f'call-{len(searches)}-{at}', 'type': 'function',
             'function': {'name': name, 'arguments': json.dumps(arguments)}}
            for at, (name, arguments) in enumerate(calls)]
    message = {'role': 'assistant', 'content': None, 'tool_calls': made}
    return {'id': 'rules', 'object': 'chat.completion', 'model': MODEL,
            'choices': [{'index': 0, 'message': message, 'finish_reason': 'tool_calls'}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    # Head and body are written apart: without this the client waits 40 ms for the second.
    disable_nagle_algorithm = True
    delay = 0.0

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_GET(self):
        ready = self.path.rstrip('/') == '/v1/models'
        self.reply(200 if ready else 404, {'object': 'list', 'data': [{'id': MODEL}]})

    def do_POST(self):
        raw = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        if self.path.rstrip('/') != '/v1/chat/completions':
            return self.reply(404, {'error': {'message': 'not found'}})
        time.sleep(self.delay)
        try:
            self.reply(200, answer(json.loads(raw)))
        except (Refused, KeyError, TypeError, ValueError) as error:
            self.reply(400, {'error': {'message': f'{type(error).__name__}: {error}'}})


class Server(ThreadingHTTPServer):
    request_queue_size = 64
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--port', type=int, default=8200)
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--delay-ms', type=int, default=0)
    args = parser.parse_args()
    Handler.delay = args.delay_ms / 1000
    server = Server(('127.0.0.1', args.port), Handler)
    # The others end with this one: each waits for its end of a pipe that nobody writes to.
    ended, open_end = os.pipe()
    for _ in range(args.workers - 1):
        if os.fork() == 0:
            os.close(open_end)
            leave = threading.Thread(target=lambda: (os.read(ended, 1), os._exit(0)), daemon=True)
            leave.start()
            break
    server.serve_forever()


if __name__ == '__main__':
    main()
