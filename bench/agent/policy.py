"""What a rule-based agent searches for next, and how it orders what was found.

It reads the question and the documents that its searches have shown, nothing else: no judgments,
no decompositions, no answers. A document whose title stands in the question is an *anchor*; without
one the first hits are, weakly. Names in the text of an anchor that the question does not have may
be what the question goes on with. Each is searched for, together with the words of the question
that the anchors on the way to it do not account for. What is found so and holds the name is an
anchor of the next hop. It stands for a chat model in measurements that are to give the same figures
each time: there is no model behind it, and it understands nothing.
"""
import collections, functools, re

# Follow-up searches of a question; of a step; new documents of each.
SEARCHES, AT_ONCE, TOP_K = 6, 3, 5
# Names that one document may pass on, and hops behind the anchors of the question.
NAMES, HOPS = 6, 3
# Weights of the order: how fast a rank counts less, an anchor of the question, a document that
# holds the name it was searched for, a hit of the first search, and of a follow-up.
RANK, ANCHOR, LINKED, FIRST, FOLLOW = 2.0, 5.0, 2.5, 1.0, 1.5

STOP = set('''a an the of in on at by for from to and or with was were is are be been being did do
does what which who whom whose when where why how that this these those it its their his her he she
they has have had as into than then there after before during while about also not no one first many
much name named called'''.split())
# Words that begin sentences and are no names.
OPENERS = STOP | set('''although however since until born both most some other several released
located founded published directed written known according all each another such under over
between'''.split())
# Words of questions, and what stands for them in texts: plain English, not of any set of questions.
RELATIONS = {
    'performer': 'by singer band recorded song album single',
    'singer': 'by recorded song sung sang',
    'author': 'by written wrote novel book', 'writer': 'by written wrote',
    'composer': 'by composed music opera', 'director': 'directed film by',
    'creator': 'created by developed', 'producer': 'produced by', 'publisher': 'published by',
    'spouse': 'married wife husband', 'wife': 'married spouse', 'husband': 'married spouse',
    'sibling': 'brother sister', 'brother': 'sibling', 'sister': 'sibling',
    'father': 'son daughter', 'mother': 'son daughter', 'child': 'son daughter father mother',
    'birthplace': 'born', 'birth': 'born', 'born': 'birth native', 'death': 'died',
    'died': 'death', 'die': 'died death', 'label': 'records released signed',
    'company': 'owned subsidiary corporation', 'owner': 'owned',
    'team': 'plays played footballer club', 'league': 'club plays', 'country': 'in located',
    'state': 'in located', 'city': 'in located', 'county': 'in located', 'located': 'in',
    'religion': 'church catholic', 'university': 'educated graduated attended',
    'educated': 'university graduated attended', 'star': 'starring stars',
    'cast': 'starring stars', 'platform': 'game console',
    'network': 'television broadcast channel aired', 'citizen': 'born', 'founder': 'founded',
    'founded': 'founder established', 'language': 'speaking', 'river': 'flows', 'capital': 'city',
}
UPPER = 'A-Z\u00c0-\u00de'
WORD = rf"[{UPPER}][\w'.\u2019-]*"
NAME = re.compile(rf'{WORD}(?:\s+(?:(?:of|the|and|de|la|du|von|van|for|in|&)\s+){{0,2}}{WORD})*')


def words(text):
    return re.findall(r'\w+', text.lower())


def stem(word):
    for end in ('ies', 'ing', 'ed', 'es', 's', 'e'):
        if word.endswith(end) and len(word) - len(end) >= 3:
            return word[:-len(end)]
    return word


@functools.lru_cache(maxsize=1 << 15)
def terms(text):
    """The words that carry meaning, without their endings."""
    return tuple(stem(word) for word in words(text) if word not in STOP and len(word) > 1)


@functools.lru_cache(maxsize=1 << 15)
def spaced(text):
    """The words between blanks: one text is in another if this is."""
    return f" {' '.join(words(text))} "


def bare(title):
    """A title without what tells it from others of the same name."""
    return re.sub(r'\s*\([^)]*\)\s*$', '', title)


@functools.lru_cache(maxsize=1 << 13)
def names(text):
    """The names in a text, each once, with place and stems of the sentence that has it first."""
    found = {}
    for at, sentence in enumerate(re.split(rf'(?<=[.!?])\s+(?=[{UPPER}"])', text)):
        stems = frozenset(stem(word) for word in words(sentence))
        for match in NAME.finditer(sentence):
            name = re.sub(r"['\u2019]s$", '', match.group().strip(" .'\u2019-"))
            head, _, rest = name.partition(' ')
            if head.lower() in OPENERS:
                name = rest
            if len(name) >= 3 and not name[0].islower() and name.lower() not in OPENERS:
                found.setdefault(name, (at, stems))
    return [(name, at, stems) for name, (at, stems) in found.items()]


class Plan:
    """All that follows from a question and its searches: [(query, [{id, title, text}, ..]), ..]."""

    def __init__(self, question, searches):
        self.question, self.searches = question, searches
        self.docs, first = {}, {}
        for at, (_, found) in enumerate(searches):
            for rank, doc in enumerate(found):
                if doc.get('text') is not None:
                    self.docs.setdefault(doc['id'], doc)
                if at == 0:
                    first.setdefault(doc['id'], rank)
        self.by_query = {query: found for query, found in reversed(searches)}
        self.terms = terms(question)
        related = [word for one in words(question) for word in RELATIONS.get(one, '').split()]
        self.related = {stem(word) for word in related}
        self.wanted = {}                                     # query: how much it promises
        self.linked = collections.defaultdict(float)         # id: how well it goes on
        asked = spaced(question)
        titles = {id: spaced(bare(doc.get('title') or '')) for id, doc in self.docs.items()}
        self.anchors = {id: 1.0 for id, title in titles.items()
                        if len(title) > 4 and title in asked}
        strength = dict(self.anchors)
        if not strength:
            strength = {id: 0.35 / (1 + 0.3 * rank) for id, rank in first.items() if rank < 3}
        self.strength = strength
        for id in list(strength):
            self.follow(id, strength[id], 0, frozenset())

    def follow(self, id, strength, hop, used):
        """What a document says goes on: names, queries for them, and the documents these found."""
        doc = self.docs.get(id)
        if doc is None or hop > HOPS:
            return
        title = set(terms(bare(doc.get('title') or '')))
        used = used | title
        left = [term for term in self.terms if term not in used]
        if not left and hop:
            return
        words_left = ' '.join(dict.fromkeys(
            word for word in words(self.question) if word not in STOP and stem(word) in left))
        promising = []
        for name, at, stems in names(doc['text']):
            own = set(terms(name))
            if own and not own <= set(self.terms) and not own <= title:
                shared = len(stems & (set(left) | self.related))
                promise = min(1.0, 0.1 + 0.35 / (1 + 0.5 * at) + 0.15 * min(shared, 3))
                promising.append((-strength * promise, name, own))
        promising.sort(key=lambda one: one[0])
        for promise, name, own in promising[:NAMES]:
            query = f'{name} {words_left}'.strip()
            self.wanted[query] = max(-promise, self.wanted.get(query, 0.0))
            for rank, hit in enumerate(self.by_query.get(query, ())):
                self.link(hit['id'], rank, name, -promise, set(left), hop, used | own)

    def link(self, id, rank, name, promise, left, hop, used):
        """A document that was searched for by a name is the next one if it holds it."""
        doc = self.docs.get(id)
        if doc is None:
            return
        title, text = doc.get('title') or '', doc['text']
        if spaced(name) in spaced(title):
            holds = 1.0
        elif spaced(name) in spaced(f'{title} {text}'):
            holds = 0.6
        else:
            return
        covered = len(left & set(terms(f'{title} {text}'))) / max(1, len(left))
        worth = promise * holds * (1 + covered) / (1 + 0.1 * rank)
        self.linked[id] = max(self.linked[id], worth)
        strength = 0.8 * promise * holds
        if self.strength.get(id, 0.0) < strength - 1e-9:
            self.strength[id] = strength
            self.follow(id, strength, hop + 1, used)

    def next(self):
        """The queries of the next step, most promising first; none when it is done."""
        left = SEARCHES - (len(self.searches) - 1)
        fresh = [(-promise, query) for query, promise in self.wanted.items()
                 if query not in self.by_query]
        return [query for _, query in sorted(fresh)[:max(0, min(left, AT_ONCE))]]

    def order(self, count):
        """The ids of the best documents that were shown."""
        scores = collections.defaultdict(float)
        for at, (query, found) in enumerate(self.searches):
            weight = FIRST if at == 0 else FOLLOW * self.wanted.get(query, 0.3)
            for rank, doc in enumerate(found):
                scores[doc['id']] += weight * RANK / (RANK + rank)
        for id in self.anchors:
            scores[id] += ANCHOR
        for id, worth in self.linked.items():
            scores[id] += LINKED * worth
        return [id for id, _ in sorted(scores.items(), key=lambda one: (-one[1], one[0]))][:count]
