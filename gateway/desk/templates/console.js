// The console's page. It holds one secret, the tab's, in sessionStorage; all text of others comes from the gateway
// already escaped, and is set as HTML in one place only (`fill`).
'use strict';
(() => {
  const HTML = window.trustedTypes
    ? trustedTypes.createPolicy('plexus-console', { createHTML: (text) => text })
    : { createHTML: (text) => text };
  const TAB = 'plexus-tab';
  const READING = 500; // ms in which a card that has just appeared takes no answer
  const WAIT = 15000;  // ms for an answer, which is there in less than one unless the browser has no connection free
  const CHANGED = 'This request changed while you were looking at it. Read it again: this is what it is now.';
  const $ = (id) => document.getElementById(id);
  const make = (tag) => document.createElement(tag);
  const fill = (place, text) => { place.innerHTML = HTML.createHTML(text); };
  // Said after what was said before, not instead of it: two things may happen at one moment.
  function say(text) {
    const line = make('p');
    line.textContent = text;
    $('announce').append(line);
    while ($('announce').children.length > 4) $('announce').firstChild.remove();
  }
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  let active = true;      // the owner has touched the page since the last request
  let stream = null;      // ends the event stream
  let open = null;        // id of the open request
  let wanted = null;      // id of the request that is on its way
  let at = '';            // address of the open page; empty where requests are shown
  let said = '';          // what fills it
  let shownOf = null;     // what fills `#card`: the address or the id of the request that what is typed there is kept by
  let known = new Map();  // id -> revision of what waits
  let shown = { queue: '', glance: '' };
  let mine = new Set();   // ids decided here
  let seen = null;        // the card that the owner has in front of them: its id and digest
  let turn = 0;           // of two cards on their way the later one counts
  let owed = null; // what a card that is on its way is to say: which, and why
  let fresh = true;       // nothing was shown yet: what waits is not news
  let lost = null;        // since when the gateway has not answered
  let ahead = 0;          // ms by which the gateway's clock is ahead of this browser's
  let elsewhere = false;  // another tab of this browser signed out
  const unsure = new Set(); // ids whose answer was lost: it may have counted
  const drafts = new Map(); // address, or id of a request -> the text that was typed there when it was left: brought back there
  let leaving = false;    // the owner signs out: what was asked before is refused and says nothing new

  // Tabs of one browser share its session: each hears why it ended.
  const TABS = new BroadcastChannel('plexus-tabs');
  TABS.onmessage = (event) => {
    if (event.data !== 'signed out') return;
    elsewhere = true;
    drafts.clear();
  };

  async function call(path, body, method, wait) {
    const headers = { 'x-plexus-tab': sessionStorage.getItem(TAB) || '' };
    if (active) headers['x-plexus-active'] = '1';
    active = false;
    const how = { headers, cache: 'no-store', credentials: 'same-origin', redirect: 'error' };
    if (body !== undefined) {
      how.method = 'POST';
      headers['content-type'] = 'application/json';
      how.body = JSON.stringify(body);
    }
    if (method) how.method = method;
    how.signal = path === '/admin/console/events' ? stream.signal : AbortSignal.timeout(wait || WAIT);
    const answer = await fetch(path, how).catch((error) => {
      if (error.name === 'TimeoutError') note('The gateway did not answer. If other windows show this page, close some of them.');
      throw error;
    });
    const time = answer.headers.get('x-plexus-time') || answer.headers.get('date');
    ahead = (Date.parse(time) || Date.now()) - Date.now();
    if (answer.status === 401 && path !== '/admin/console/sign-in') {
      if (!leaving && !$('desk').hidden) {
        keepDraft();
        const why = elsewhere ? 'you signed out in another tab' : 'the session ended, or the gateway was restarted';
        const kept = drafts.has(shownOf);
        signedOut(`You are signed out: ${why}.${kept ? ' What you typed is back when you paste the key here; secrets, numbers and choices are not.' : ''}`);
      }
      throw new Error('signed out');
    }
    return answer;
  }

  // What is set as HTML was made as HTML: data of others is answered as another type.
  async function html(answer) {
    const type = answer.headers.get('content-type') || '';
    if (!type.startsWith('text/html')) throw new Error('no page');
    return answer.text();
  }
  async function parsed(answer) {
    const made = make('template');
    fill(made, await html(answer));
    return made.content;
  }

  // --- coming and going ---

  function signedOut(why) {
    sessionStorage.removeItem(TAB);
    hide();
    back();
    followed.clear();
    turn += 1;
    open = wanted = shownOf = null;
    at = said = '';
    known = new Map();
    shown = { queue: '', glance: '' };
    fresh = true;
    for (const id of ['glance', 'queue', 'card', 'notes', 'announce', 'found']) $(id).replaceChildren();
    for (const id of ['desk', 'finder', 'sign-out']) $(id).hidden = true;
    document.title = 'Plexus';
    $('door').hidden = false;
    $('door-why').hidden = !why;
    $('door-why').textContent = why || '';
    $('key').focus();
  }

  async function signIn(proof) {
    let answer;
    try {
      answer = await call('/admin/console/sign-in', proof);
    } catch {
      return signedOut('The gateway does not answer. Is it running?');
    }
    const body = await answer.json();
    if (!answer.ok) return signedOut(body.error.message);
    sessionStorage.setItem(TAB, body.tab);
    // This page may be older than the gateway.
    const isOld = body.page !== document.documentElement.dataset.page;
    if (isOld && !drafts.size) return location.reload();
    enter();
    if (isOld) note('The gateway is another version than this page: when what you typed is sent, load the page anew.');
  }

  function enter() {
    leaving = elsewhere = false;
    $('door').hidden = true;
    $('key').value = '';
    $('key').blur();
    for (const id of ['desk', 'finder', 'sign-out']) $(id).hidden = false;
    listen();
    route(history.state?.y).catch(unanswered);
  }

  // --- text that is typed outlives the session and other pages: it is in this script alone, and no secret is ---

  const DRAFTS = 20;
  // Text alone, each field with its id: a box or a choice that gives something is chosen anew by who comes back, and a grant
  // is not brought back with a part of its limits. Of a request's card it is the reason, and what answers a server's question.
  // What is on its way is not brought back as if it were not; a box that narrows is.
  const TEXT = ':is(input[type=text], textarea, [data-narrows]):not([data-secret], [data-limits])';
  const KEPT = `form:not([data-filter], [data-answer], [data-busy]) ${TEXT}, [form][data-narrows], #reason, input[data-value]`;
  const fieldsOf = () => [...$('card').querySelectorAll(KEPT)];
  // The fields of a form, also those that lie outside of it.
  const partsOf = (part, kind) => [...(part.elements || part.querySelectorAll(kind))].filter((field) => field.matches(kind));
  const draftOf = (field) => (field.type === 'checkbox' ? field.checked : field.value);
  const addressNow = () => location.pathname + location.search;

  function keepDraft() {
    drafts.delete(shownOf);
    keep(shownOf, fieldsOf());
  }
  function keep(key, fields) {
    const typed = fields.filter(isTouched);
    if (leaving || !key || !typed.length) return;
    drafts.set(key, new Map([...(drafts.get(key) || []), ...typed.map((field) => [field.id, draftOf(field)])]));
    if (drafts.size > DRAFTS) drafts.delete(drafts.keys().next().value);
  }
  // A form that was left on its way and did not get through: its text is back where it was typed.
  function keepLeft(form) {
    if (!form.matches('form:not([data-filter], [data-answer])')) return;
    keep(form.shownOf, partsOf(form, TEXT));
    if (form.shownOf === shownOf) bringBack();
  }
  // What was sent is typed no more: neither here, nor where the page was left or shown anew meanwhile. What was typed since is.
  function emptied(form) {
    for (const field of partsOf(form, HALF).filter(isTouched)) {
      const kept = drafts.get(form.shownOf);
      if (kept?.get(field.id) === draftOf(field)) kept.delete(field.id);
      const twin = form.shownOf === shownOf && $(field.id);
      if (twin && twin !== field && draftOf(twin) === draftOf(field)) {
        twin.value = twin.defaultValue;
        twin.checked = twin.defaultChecked;
      }
    }
    const later = [...form.sent].filter(([field, typed]) => draftOf(field) !== typed).map(([field]) => [field, draftOf(field)]);
    form.reset();
    for (const [field, typed] of later) put(field, typed);
    if (later.length) delete form.dataset.busy;
  }
  function bringBack() {
    const typed = drafts.get(shownOf);
    if (!typed) return;
    drafts.delete(shownOf);
    for (const field of fieldsOf()) {
      if (field.disabled || isTouched(field) || !typed.has(field.id)) continue;
      put(field, typed.get(field.id));
    }
  }
  function put(field, typed) {
    if (field.type === 'checkbox') field.checked = typed;
    else field.value = typed;
    if (isTouched(field)) unfolded(field);
  }
  function unfolded(field) {
    for (let part = field.closest('details'); part; part = part.parentElement.closest('details')) part.open = true;
  }

  // Over an act on a page its other forms keep what is half filled, numbers and limits too: each as a whole, so that a grant has
  // all of its limits, or not at all. No secret is kept, and no ticked box unless it narrows.
  const HALF = ':is(input[type=text], input[type=number], select, textarea, [data-narrows])[id]:not([data-secret])';
  function halfFilled() {
    // What is on its way is given back by `keepLeft`, if it is refused.
    const forms = [...$('card').querySelectorAll('form:not([data-filter], [data-answer], [data-busy])')];
    const fields = forms.map((form) => partsOf(form, HALF)).filter((all) => all.some(isTouched));
    // A choice is kept untouched too: what was typed is of what was chosen.
    return fields.map((all) => all.filter((field) => field.tagName === 'SELECT' || isTouched(field)).map((field) => [field.id, draftOf(field)]));
  }
  function fillAgain(halves) {
    for (const half of halves) {
      const form = half.map(([id]) => $(id)?.form).find(Boolean);
      for (const [id, typed] of half) if ($(id)) put($(id), typed);
      if (!form || half.every(([id, typed]) => $(id) && draftOf($(id)) === typed)) continue;
      form.reset();
      notice(form, 'This form is empty again: something that you had chosen in it is there no more.', 'stays');
    }
  }
  // A page that is loaded anew keeps nothing: the browser asks first.
  const WRITTEN = 'form:not([data-filter]) :is(input:not([type=checkbox], [type=radio]), select, textarea)';
  window.addEventListener('beforeunload', (event) => {
    if (!$('desk').hidden && [...$('card').querySelectorAll(WRITTEN)].some(isTouched)) event.preventDefault();
  });

  // --- what ends is counted down, and ages from a minute on are counted up, in the words that they came with ---

  function span(ms) {
    const minutes = Math.floor((ms + 1000) / 60000);
    const hours = Math.round(ms / 3600000);
    if (minutes < 1) return ms < 1000 ? '< 1 s' : `${Math.floor(ms / 1000)} s`;
    if (minutes < 120) return `${minutes} min`;
    return hours < 48 ? `${hours} h` : `${Math.round(ms / 86400000)} days`;
  }
  setInterval(() => {
    const isRead = !window.getSelection().isCollapsed;
    for (const time of $('desk').querySelectorAll('time')) {
      const { ends, ended } = time.dataset;
      const ms = Date.parse(time.dateTime) - Date.now() - ahead;
      if (!ends && (isRead || ms > -60000 || !/^just now$| ago$/.test(time.textContent))) continue;
      const words = !ends ? `${span(-ms)} ago` : ms > 0 ? `${ends} ${span(ms)}` : ended;
      if (words === time.textContent) continue;
      time.textContent = words;
      if (ends && ms <= 0) soon();
    }
  }, 1000);

  // A browser opens few connections to one host, and each stream keeps one: a page that nobody sees has none.
  function hide() {
    if (stream) stream.abort();
    stream = null;
  }

  async function listen() {
    hide();
    live('connecting…');
    if (document.hidden) return soon();
    const own = stream = new AbortController();
    while (stream === own) {
      let met = false;
      try {
        const answer = await call('/admin/console/events');
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        live('live');
        met = true;
        if (lost) soon();
        let rest = '';
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          rest += value;
          for (let end; (end = rest.indexOf('\n\n')) >= 0; rest = rest.slice(end + 2)) heard(rest.slice(0, end));
        }
      } catch { /* the gateway went, or the session did: looked at anew below */ }
      if (stream !== own) return;
      live('reconnecting…');
      if (!met) away();
      await sleep(1000);
    }
  }

  function live(word) {
    $('live').textContent = word;
    $('live').classList.toggle('on', word === 'live');
  }

  // No state is shown as the gateway's while it does not answer.
  function away() {
    if (!lost) say('The gateway does not answer.');
    lost ??= new Date();
    $('desk').dataset.away = '';
    const chip = make('span');
    chip.className = 'chip bad';
    chip.textContent = `no answer since ${lost.toTimeString().slice(0, 5)}`;
    $('glance').replaceChildren(chip);
    shown.glance = '';
  }
  function back() {
    if (lost) renewSoon();
    lost = null;
    delete $('desk').dataset.away;
  }

  function heard(frame) {
    renewSoon();
    followSoon();
    // Calls are most of what is told, and change nothing that is shown.
    if (/^event: audit_appended$/m.test(frame) && /"auditType":"invoke"/.test(frame)) return;
    soon();
  }

  // --- what waits ---

  let due = null;
  function soon() { due ??= setTimeout(() => { due = null; refresh(); }, 80); }

  let busy = false;
  async function refresh() {
    if (busy) return soon();
    busy = true;
    try {
      const answer = await call('/admin/console/view').catch((error) => {
        if (!$('desk').hidden) away();
        throw error;
      });
      if (answer.ok) {
        back();
        await show(await answer.json());
      }
    } catch { /* `listen` notices too */ } finally { busy = false; }
  }

  async function show(view) {
    const before = known;
    known = new Map(view.items);
    if (['glance', 'queue'].some((id) => isPressed($(id)))) setTimeout(soon, 500);
    if (shown.glance !== view.glance && !isPressed($('glance'))) {
      const wide = $('about') && $('about').open;
      const held = heldIn($('glance'));
      fill($('glance'), shown.glance = view.glance);
      if (wide) $('about').open = true;
      if (held) sameAs(held, $('glance'))?.focus();
    }
    if (shown.queue !== view.queue && !isPressed($('queue'))) {
      const held = heldIn($('queue'));
      fill($('queue'), shown.queue = view.queue);
      if (held) (ticket(held.dataset.id) || sameAs(held, $('queue')) || heading()).focus();
    }
    aged();
    waiting = view.waiting;
    const come = [...known.keys()].filter((id) => !before.has(id));
    if (come.length && !fresh) tell(come[0], view.waiting);
    fresh = false;
    const card = current();
    if (wanted) { /* the one that is on its way is looked at when it is there */ } else if (open && known.has(open)) {
      if (!card || Number(card.dataset.revision) !== known.get(open)) await load(open);
    } else if (open && card && card.dataset.state === 'pending') {
      const [gone, title] = [open, titleOf(card)];
      // Decided elsewhere, or lapsed: the card says so, where it has one still.
      if (await load(gone) === false && !mine.has(gone)) note(`It is no longer pending: ${title}. It was decided elsewhere, or ended by itself.`);
    } else if (open && card && !view.paused && 'held' in card.dataset) await load(open);
    if (!open && !at && !wanted) await next();
    quiet();
    mark();
  }

  // The open card is as old as its row says.
  function aged() {
    const row = open && ticket(open)?.querySelector('time');
    const on = row && current()?.querySelector('header time');
    if (on && on.dateTime === row.dateTime) on.textContent = row.textContent;
  }

  let waiting = 0;
  function titled() {
    const page = at ? current()?.querySelector('h2').textContent : open ? titleOf(current()) : 'Approvals';
    document.title = `${waiting ? `(${waiting}) ` : ''}${page ? `${page} · ` : ''}Plexus`;
  }

  function quiet() {
    $('quiet').hidden = Boolean(open || at);
    titled();
  }

  function tell(id, waiting) {
    const row = ticket(id);
    if (row) say(`${row.dataset.news || 'New request from'} ${row.querySelector('.agent').textContent}: ${row.querySelector('.title').textContent}. ${waiting} waiting.`);
  }

  const ticket = (id) => $('queue').querySelector(`[data-id="${CSS.escape(id)}"]`);
  const cardAt = (id) => `${INSIDE}/pending/${encodeURIComponent(id)}`;
  const current = () => $('card').querySelector('article');
  // It takes the focus when the element that had it is gone.
  const heading = () => (current() || $('quiet')).querySelector('h2');
  const heldIn = (part) => part.contains(document.activeElement) && document.activeElement;
  const titleOf = (card) => `${card.querySelector('.agent').textContent}: ${card.querySelector('h2 b').textContent}`;

  function mark() {
    for (const row of $('queue').querySelectorAll('.ticket')) {
      if (row.dataset.id === open) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
  }

  // --- one request ---

  async function next() {
    if (!location.pathname.startsWith(REQUESTS)) return;
    if (location.pathname !== REQUESTS) history.replaceState(null, '', REQUESTS);
    here();
    const first = [...known.keys()].find((id) => !mine.has(id));
    if (first) return load(first);
    turn += 1; // a card that is on its way is of what is over
    open = shownOf = null;
    $('card').replaceChildren();
    quiet();
  }

  // Whether it is there: null where it is not and that was said; nothing where another page came first. What is to be said on it
  // is said by whichever look arrives: `why` where it waits, `over` where it does not any more.
  async function load(id, why, over) {
    const mine = ++turn;
    if (why || over) owed = { id, why, over };
    const answer = await call(cardAt(id));
    if (mine !== turn) return;
    if (!answer.ok) {
      if (open === id) open = null;
      if (answer.status !== 404) return true;
      const ended = owed?.id === id && owed.over;
      owed = null;
      if (ended) note(ended).classList.add('bad');
      return ended ? null : false;
    }
    at = said = '';
    const text = await html(answer);
    if (mine !== turn) return;
    const before = open === id ? current() : null;
    const typed = [...before?.querySelectorAll(ANSWER) ?? []].filter(isTouched).map((field) => [answerOf(field), field.value]);
    const kept = before?.querySelector(':is([data-notice], [data-for]):not([hidden])')?.textContent;
    const pickOf = ({ name, value }) => `${name} ${value}`;
    const picked = [...before?.querySelectorAll('[data-keep]:checked, [name=window]:checked') ?? []].map(pickOf);
    const inside = heldIn($('card')) || heldIn($('quiet'));
    const on = inside && inside.matches(ANSWER) && answerOf(inside);
    open = shownOf = id;
    fill($('card'), text);
    quiet();
    mark();
    const card = current();
    const form = card.querySelector('form');
    const digest = card.dataset.digest;
    if (before && form) {
      const fields = new Map([...form.querySelectorAll(ANSWER)].map((field) => [answerOf(field), field]));
      for (const [name, text] of typed) if (fields.has(name)) put(fields.get(name), text);
      if (digest && digest === before.dataset.digest) for (const one of form.querySelectorAll('[data-keep], [name=window]:enabled')) {
        if (!picked.includes(pickOf(one))) continue;
        one.checked = true;
        unfolded(one);
      }
      sum(form);
      if (on) fields.get(on)?.focus();
      if ('making' in before.dataset && !('making' in card.dataset)) say('It is now clear what the request would do.');
    }
    if (inside && !$('card').contains(document.activeElement)) heading().focus();
    const changed = digest && seen?.id === id && seen.digest && seen.digest !== digest;
    const words = (owed?.id === id && owed.why) || (changed ? CHANGED : kept);
    const ended = !form && owed?.id === id && owed.over;
    owed = null;
    if (form && words) notice(form, words);
    if (ended) note(ended).classList.add('bad');
    if (digest || seen?.id !== id) seen = { id, digest: digest || undefined };
    if (form) settle(form);
    else {
      say(card.querySelector('.verdict').textContent.trim());
      if (card.matches('.approved:not([data-outcome])') && !followed.has(id)) follow(id, {});
    }
    aged();
    bringBack();
    return true;
  }

  // What the owner types into a card's answer stays over a look at the same card: what answers, what narrows, and why not. How
  // long it is allowed for, and which secrets are kept, is chosen anew where the card has another digest.
  const ANSWER = '#reason, [data-value]:not([multiple]), [data-narrow], [name=calls]';
  const answerOf = (field) => `${field.id} ${field.dataset.value ?? field.dataset.narrow ?? field.name}`;

  // A form has a place of its own for what is said of it: at its buttons, where it came with none.
  function notice(part, text, stays) {
    if (!part?.isConnected) {
      if (part) keepLeft(part);
      const of = part?.shownOf && part.shownOf === shownOf ? 'Of this page before it was shown anew' : 'Of a page that you left';
      return void note(`${of}: ${text}`).classList.add('bad');
    }
    let place = part.querySelector('[data-notice]');
    if (!place) {
      place = make('p');
      place.className = 'notice';
      place.dataset.notice = '';
      place.role = 'alert';
      const acts = part.querySelector('.acts') || part.querySelector('button');
      if (acts) acts.before(place); else part.prepend(place);
    }
    place.textContent = text;
    place.hidden = false;
    if (!stays) place.scrollIntoView({ block: 'nearest' });
  }

  // A refusal of a form, beside the field that it names, and with that field's words for its name.
  function refused(form, error, why = error?.message) {
    if (!form.isConnected) return notice(form, why);
    const named = [...form.elements].find((one) => one.name && why.includes(`\`${one.name}\``));
    const field = [...form.elements].find((one) => [one.name, one.dataset.value].includes(error?.detail?.field || named?.name || null));
    const label = field?.labels?.[0]?.firstChild?.textContent.trim();
    if (label) why = why.replaceAll(`\`${field.name}\``, `“${label}”`);
    const of = field instanceof Element && !field.disabled && field.type !== 'hidden' && (field.closest('div, label'));
    if (!of || !form.contains(of)) return notice(form, why);
    // One place of a form, which goes to the field.
    const place = form.querySelector('[data-for]') || make('p');
    place.className = 'why';
    place.dataset.for = field.name;
    place.role = 'alert';
    of.append(place);
    place.textContent = why;
    place.hidden = false;
    unfolded(field);
    field.focus();
  }

  // What has just appeared takes no answer: a key or a click on its way was meant for something else.
  // It is the time of the press that counts: a busy page hears of it later, and paints what appears later.
  function settle(part) {
    const begin = () => {
      part.dataset.fresh = '';
      part.ready = performance.now() + READING;
      clearTimeout(part.settling);
      part.settling = setTimeout(() => { delete part.dataset.fresh; }, READING);
    };
    begin();
    requestAnimationFrame(begin);
  }

  let [keyed, pressed] = [0, 0];
  // Enter in a field is a press without a click.
  document.addEventListener('keydown', (event) => { keyed = pressed = event.timeStamp; }, true);
  // A click without a pointer is a key's, or of a program that presses for somebody.
  document.addEventListener('click', ({ detail, timeStamp }) => {
    pressed = !detail && timeStamp - keyed < 1000 ? keyed : timeStamp;
  }, true);
  function isFresh(one) {
    return Boolean(one) && (one.ready > pressed || isFresh(one.parentElement));
  }
  // Said, because the press was meant.
  function isEarly(one) {
    const is = isFresh(one);
    if (is) say('Not taken: this has only just appeared. Press again.');
    return is;
  }

  function constraint(form) {
    const made = {};
    for (const field of form.querySelectorAll('[data-narrow]')) {
      const value = field.value.trim();
      if (!value) continue;
      const name = field.dataset.narrow;
      if (field.dataset.kind === 'path') made.pathPrefix ??= { field: name, allow: [value] };
      else if (made.allow) (made.match ??= []).push({ field: name, op: 'eq', value });
      else made.allow = { field: name, values: [value] };
    }
    const calls = Number(form.calls.value);
    if (calls) made.maxCalls = calls;
    return Object.keys(made).length ? made : undefined;
  }

  // What was typed into a question; a field that was left empty is left out.
  function replies(form) {
    const made = {};
    for (const field of form.querySelectorAll('[data-value]')) {
      const as = field.dataset.as;
      const name = field.dataset.value;
      const typed = field.value.trim();
      if (!typed) continue;
      const number = Number(typed);
      if (as === 'choices') made[name] = [...field.selectedOptions].map((one) => one.value);
      // What is no number, or none that is exact, goes as it was typed: the gateway says so, and sends nothing.
      else if (as === 'number') made[name] = Number.isSafeInteger(number) || number % 1 ? number : typed;
      else if (as === 'boolean') made[name] = typed === 'true';
      else made[name] = field.value;
    }
    return made;
  }

  const SPANS = { '1h': 'for 1 hour', '1d': 'for 1 day', '7d': 'for 7 days', 'until-revoked': 'until you revoke it' };

  // The limits of a permission in words, behind a sentence.
  function limits(form) {
    const only = ({ value, dataset: { narrow, kind } }) => value.trim() && `, only where ${narrow} is ${kind === 'path' ? 'at or below ' : ''}“${value.trim()}”`;
    const { value: calls, min } = form.calls;
    return [...form.querySelectorAll('[data-narrow]')].map(only).join('')
      + (calls && (calls > 1 ? `, at most ${calls} calls${min > 1 ? ', this one included' : ''}` : ', one call at most'));
  }

  function sum(form) {
    const button = form.querySelector('[value=window]');
    const window = form.querySelector('[name=window]:checked')?.value;
    if (!button) return;
    const paths = [...form.querySelectorAll('[data-kind=path]')].filter((field) => field.value.trim());
    const { validity, title } = form.calls;
    button.disabled = !window || paths.length > 1 || !validity.valid;
    button.textContent = window ? `Allow ${SPANS[window]}` : 'Choose a length of time';
    form.querySelector('[data-sum]').textContent = paths.length > 1
      ? `A permission holds to one path: leave all but one of ${paths.map((field) => field.dataset.narrow).join(', ')} empty.`
      : !validity.valid ? title
      : window ? `It may then do this ${SPANS[window]} without asking${limits(form) || ', anywhere in this source, any number of times'}.`
      : '';
  }

  async function answer(form, act) {
    if ('busy' in form.dataset || isEarly(form)) return;
    const card = form.closest('article');
    const id = card.dataset.id;
    const title = titleOf(card);
    let body, done;
    if (act === 'plan') {
      const again = await told(`${API}/pending/${encodeURIComponent(id)}/plan`, {}).catch(unanswered);
      if (again && !again.ok) notice(form, again.why);
      return soon();
    } else if (act === 'deny') {
      const reason = form.reason?.value.trim();
      body = { action: 'deny', ...(reason && { reason }) };
      done = card.dataset.no || 'Denied';
    } else if (act === 'reply') {
      body = { action: 'approve', cardDigest: card.dataset.digest, answers: replies(form) };
      done = card.dataset.yes;
    } else {
      const window = act === 'window' ? form.querySelector('[name=window]:checked')?.value : 'once';
      if (!window) return;
      body = { action: 'approve', trustWindow: { kind: window }, cardDigest: card.dataset.digest };
      if (act === 'window') body.constraint = constraint(form);
      else if ('anyInput' in card.dataset) body.anyInput = true;
      const keeps = [...form.querySelectorAll('[data-keep]:checked')].map((box) => box.value);
      if (keeps.length) body.keepSecrets = keeps;
      done = act === 'window' ? `Allowed ${SPANS[window]}${limits(form)}` : card.dataset.yes || ('bounded' in card.dataset ? 'Approved' : 'Approved once');
    }
    form.dataset.busy = '';
    try {
      mine.add(id);
      const reply = await working(form.querySelector(`[value=${act}]`), () => call(cardAt(id), body));
      const said = await reply.json();
      if (reply.ok) {
        const held = act === 'once' && 'held' in card.dataset ? ', and done when you resume all agents' : '';
        const line = note(`${done}${held} — ${card.dataset.about || title}`);
        if (act === 'once' && !card.dataset.yes) follow(id, { title, line });
        said.notes.forEach(note);
        for (const one of [id, ...said.alsoAnswered || []]) known.delete(one);
        drafts.delete(id);
        // An owner who looks at another one meanwhile stays there.
        if (open !== id || wanted) return soon();
        open = seen = null;
        await next().catch(unanswered);
        heading().focus();
        return soon();
      }
      mine.delete(id);
      // After a lost answer this may be the end that it made: the card says which.
      const over = unsure.has(id) ? '' : `${title}. Your answer did not count: this was decided already, or is no longer pending.`;
      const isChanged = said.error.code === 'card_changed';
      const why = isChanged ? `Not approved. ${CHANGED}` : `Nothing was decided: ${said.error.message}`;
      if (open !== id) {
        note(reply.status === 404 ? over || `${title}. It is no longer pending.` : `${title}. ${why}`).classList.add('bad');
        soon();
      } else if (!isChanged && reply.status !== 404) refused(form, said.error, why);
      else {
        const there = await load(id, why, over);
        if (there === false) note(`It is no longer pending: ${title}.`);
        if (!there) soon();
      }
    } catch (error) {
      mine.delete(id);
      if (error.message === 'signed out') return;
      unsure.add(id);
      notice(form, 'The gateway did not answer. Whether this was decided is not known; see the list.');
    } finally {
      delete form.dataset.busy;
    }
  }

  function note(text) {
    const line = make('li');
    line.textContent = text;
    $('notes').prepend(line);
    while ($('notes').children.length > 3) $('notes').lastChild.remove();
    seenNotes();
    say(text);
    return line;
  }

  // What just happened comes into sight for a while, however far down the page was read; no field that is gone to lies behind it.
  const NEWS = 12000; // ms
  let news = null;
  let room = 0; // px that it has over the page
  function seenNotes() {
    const bar = document.querySelector('.bar');
    const top = getComputedStyle(bar).position === 'sticky' ? bar.offsetHeight : 0;
    const notes = $('notes');
    if (!notes.classList.contains('new') && notes.getBoundingClientRect().top >= top) return;
    notes.classList.add('new');
    notes.style.top = `${top}px`;
    document.documentElement.style.scrollPaddingTop = `${top + notes.offsetHeight}px`;
    // The page makes room for it, and takes no act while it moves.
    if (notes.offsetHeight > room) {
      window.scrollBy({ top: room - notes.offsetHeight, behavior: 'instant' });
      if (current()) settle(current());
    }
    room = notes.offsetHeight;
    clearTimeout(news);
    news = setTimeout(() => {
      room = 0;
      notes.classList.remove('new');
      document.documentElement.style.scrollPaddingTop = '';
    }, NEWS);
  }

  // --- what came of an approval: its card says it, and the note is put right ---

  const FOLLOWED = 300000; // ms: an agent that waits calls within seconds
  const followed = new Map(); // id -> its note, what that is of, and until when its end is looked for

  // `one`: its title, and either its note or the batch that it is of; nothing where its card alone says it.
  function follow(id, one) {
    followed.set(id, { ...one, until: Date.now() + FOLLOWED });
    while (followed.size > 40) followed.delete(followed.keys().next().value);
    followSoon();
  }

  let following = null;
  function followSoon() {
    if (!followed.size) return;
    following ??= setTimeout(() => { following = null; lookAfter().catch(() => {}); }, 1000);
  }

  async function lookAfter() {
    for (const [id, one] of [...followed]) {
      const answer = await call(cardAt(id));
      if (!followed.has(id)) continue;
      const card = answer.ok && (await parsed(answer)).querySelector('article');
      const { outcome, came } = card?.dataset || {};
      if (!card || outcome || (Date.now() > one.until && open !== id)) followed.delete(id);
      if (!outcome) continue;
      if (one.batch) oneEnded(one.batch, id, outcome);
      else if (one.title && outcome !== 'done') ended(id, one, outcome, came);
      if (open === id && !wanted) await load(id);
    }
  }

  function ended(id, { title, line }, outcome, came) {
    const text = `Approved, ${outcome === 'unknown' ? 'and perhaps' : 'but'} not done: ${title}. ${came}`;
    const shown = line?.isConnected ? line : note(text);
    shown.classList.add('bad');
    shown.textContent = `${text} `;
    linked(shown, [[id, 'See why']]);
    if (shown !== line) return;
    seenNotes();
    say(text);
  }

  // A batch has one line: how many of it are done, and a link to each that is not.
  function oneEnded(batch, id, outcome) {
    if (outcome === 'done') batch.done += 1;
    else batch.failed.push([id, batch.names.get(id) + (outcome === 'unknown' ? ' (not known)' : '')]);
    const { done, failed, line } = batch;
    // One that other notes have pushed out comes back for what failed alone.
    if (!line.isConnected && outcome === 'done') return;
    const shown = line.isConnected ? line : (batch.line = note(batch.words));
    shown.textContent = `${batch.words}: ${done} done${failed.length ? `, ${failed.length} not: ` : ''}`;
    linked(shown, failed);
    if (!failed.length) return;
    shown.classList.add('bad');
    seenNotes();
    if (done + failed.length === batch.names.size) say(shown.textContent);
  }

  // Adds a link to each card, or to what else lies below `to`.
  function linked(line, cards, to = REQUESTS) {
    for (const [at, [id, name]] of cards.entries()) {
      const link = make('a');
      link.href = `${to}/${encodeURIComponent(id)}`;
      link.textContent = name;
      line.append(at ? ', ' : '', link);
    }
  }
  // A note of what can be taken back leads to it.
  function noted(text, done) {
    const line = note(text + (done.undo ? '. ' : ''));
    if (done.undo) linked(line, [[done.auditId, 'See it, or take it back']], '/admin/activity');
  }

  // --- pages: what fills one lies at its own path below INSIDE ---

  const HOME = '/admin';
  const REQUESTS = '/admin/approvals';
  const INSIDE = '/admin/console';
  const API = '/admin/console/api';
  function inside(path) {
    const rest = path.slice(HOME.length);
    return INSIDE + (rest === '' || rest[0] === '?' ? `/overview${rest}` : rest);
  }

  // Marks the page of this address among the others, and says to the style whether it is the requests'.
  function here() {
    const path = location.pathname.replace(/\/+$/, '') || HOME;
    const is = (to) => path === to || (to !== HOME && path.startsWith(`${to}/`));
    for (const link of $('nav').querySelectorAll('a')) {
      const mine = is(link.getAttribute('href')) || (link.id === 'runs' && is('/admin/boards')) || (link.id === 'approvals' && is('/admin/together'));
      if (mine) link.setAttribute('aria-current', 'page');
      else link.removeAttribute('aria-current');
    }
    $('desk').dataset.at = is(REQUESTS) ? 'requests' : 'page';
    return path;
  }

  async function go(path) {
    keepPlace();
    if (path !== addressNow()) history.pushState(null, '', path);
    const slow = setTimeout(() => { $('card').ariaBusy = 'true'; say('It is on its way.'); }, LONGER);
    await route().finally(() => {
      clearTimeout(slow);
      $('card').ariaBusy = null;
    });
  }

  // How far down a page was read is kept with its address, for back and reload.
  history.scrollRestoration = 'manual';
  let moved = null;
  function keepPlace() {
    clearTimeout(moved);
    history.replaceState({ y: window.scrollY }, '');
  }
  document.addEventListener('scroll', () => {
    clearTimeout(moved);
    moved = setTimeout(() => { if (!$('desk').hidden) keepPlace(); }, 200);
  });

  function unanswered(error) {
    if (error.message !== 'signed out') note('The gateway did not answer: this is the page before.').classList.add('bad');
  }

  // Shows what this address is of, from `y` down where it was read before.
  async function route(y) {
    keepDraft();
    const path = here();
    $('found').hidden = true;
    const one = /^\/admin\/approvals(?:\/([^/]+))?$/.exec(path);
    if (!one) return page(path + location.search, y);
    at = said = '';
    if (!one[1]) return next().then(focusLost);
    const id = wanted = decodeURIComponent(one[1]);
    const found = await load(id).finally(() => { if (wanted === id) wanted = null; });
    if (found === false) note('There is no such request any more.');
    if (found === false || found === null) await next();
    else if (y) window.scrollTo(0, y);
    focusLost();
  }
  function focusLost() { if (document.activeElement === document.body) focusAgain(); }

  // No request takes the place of a page by itself.
  async function page(path, y) {
    const now = ++turn;
    const again = at === path && shownOf === path;
    at = path;
    open = seen = wanted = null;
    const answer = await call(inside(path));
    const text = answer.ok ? await html(answer) : '';
    if (now !== turn) return;
    quiet();
    mark();
    if (!answer.ok) {
      const why = (await answer.json()).error?.message;
      if (!again || answer.status === 404) return missing(why);
      return void note(`This is the page as it was: ${why ?? answer.status}`).classList.add('bad');
    }
    if (!again) keepDraft();
    const halves = again ? halfFilled() : [];
    // A choice that is gone through by keys has the focus still: each step shows another page.
    const was = document.activeElement;
    const stays = again || was.matches('[data-filter] select:focus-visible');
    place(text, again);
    bringBack();
    fillAgain(halves);
    titled();
    if (!again || y) window.scrollTo(0, y || 0);
    // An owner who looks for something meanwhile goes on with that.
    if (!$('finder').contains(document.activeElement)) focusAgain(stays ? was : null);
    await renew();
  }

  // What had the focus has it again, where it is there still; else its row, or the one that came for it; else the heading.
  const sameAs = (was, part) => [...part.querySelectorAll('a, button, summary, select, [tabindex]')].find((one) => nameOf(one) && nameOf(one) === nameOf(was));
  const rowsOf = (part) => [...part?.querySelectorAll('li, tr') ?? []];
  function focusAgain(was) {
    const at = rowsOf(was?.closest('article')).indexOf(was?.closest('li, tr'));
    const row = rowsOf($('card')).slice(0, at + 1).pop();
    (was && sameAs(was, $('card')) || row?.querySelector('a') || heading()).focus({ preventScroll: true });
    // None lies in what is folded.
    if (was) focusLost();
  }

  // A page that came, and one whose acts moved under the pointer, takes none for a moment, as a card does. Other forms only
  // choose what is shown.
  const ACTS = '[data-send], [data-act], [data-digest], form:not([data-filter])';
  const PASSING = { busy: undefined, fresh: undefined, sureNow: undefined };
  const nameOfAct = (one) => one.closest('[data-source]')?.dataset.source + JSON.stringify({ ...one.dataset, ...PASSING });
  const acts = (part) => [...part.querySelectorAll(ACTS)].map(nameOfAct).join();
  function place(text, again) {
    const before = acts($('card'));
    fill($('card'), said = text);
    shownOf = at;
    if (!again || before !== acts($('card'))) settle(current());
  }

  // An address that nothing is at.
  function missing(why) {
    keepDraft();
    const article = make('article');
    article.className = 'card';
    const words = !why || why.startsWith('No route for') ? 'The console has no page at this address.' : why;
    for (const [tag, text] of [['h2', 'There is nothing here'], ['p', words], ['a', 'Go to the overview']]) {
      const part = make(tag);
      part.textContent = text;
      article.append(part);
    }
    article.firstChild.tabIndex = -1;
    article.lastChild.href = HOME;
    $('card').replaceChildren(article);
    shownOf = null;
    titled();
    article.firstChild.focus();
  }

  let renewing = null;
  function renewSoon(ms = 700) { renewing ??= setTimeout(() => { renewing = null; renew().catch(() => {}); }, ms); }

  // A button or a link that goes between its press and its release is not pressed.
  const isPressed = (part) => Boolean(part.querySelector(':active'));

  // Something in a page that the owner is at: it stays as it is meanwhile.
  function inHand(part) {
    const focus = document.activeElement;
    if (isPressed(part)) {
      renewSoon();
      return true;
    }
    return (part.contains(focus) && focus.matches('input, select, textarea'))
      || part.querySelector('[data-busy], [data-sure-now]') || !window.getSelection().isCollapsed
      || [...part.querySelectorAll('input, select, textarea')].some(isTouched);
  }
  // Otherwise than the page came with it.
  function isTouched(field) {
    if (field.tagName === 'SELECT') return [...field.options].some((one) => one.selected !== one.defaultSelected && (field.selectedIndex > 0 || one.defaultSelected));
    return field.type === 'checkbox' || field.type === 'radio' ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
  }
  const actOf = (part) => (part.dataset.send || '') + (part.dataset.body || '');
  const nameOf = (part) => part.id || part.getAttribute('href') || actOf(part) || part.form?.dataset.formSend;

  // The words of a run are looked at each second while it goes on.
  const SPEAKS = '[data-live$="/said"] [data-send$="/stop"]';
  const renew = () => renewed().then((isWhole) => {
    if (isWhole && !document.hidden && !lost && $('card').querySelector(SPEAKS)) renewSoon(1000);
  });

  // Exchanges only what is another: a button that is being pressed stays, and so do the focus and how far down it was read.
  function morph(old, now) {
    const [were, are] = [[...old.childNodes], [...now.childNodes]];
    for (const [at, one] of are.entries()) {
      const was = were[at];
      if (!was) old.append(one);
      else if (was.cloneNode().isEqualNode(one.cloneNode())) morph(was, one);
      else was.replaceWith(one);
    }
    for (const one of were.slice(are.length)) one.remove();
  }

  // A call whose caller waited for it is kept nowhere once it is over: what was read of it stays.
  function runIsOver(part) {
    const isOpen = part.said === undefined || part.querySelector('[data-send$="/stop"]');
    part.removeAttribute('data-live');
    if (!isOpen) return;
    part.querySelector('.acts')?.remove();
    (part.querySelector('h3') || part.firstElementChild).textContent = 'It is over. Its end is not kept here.';
  }

  // Fetches again what is said to change; whether all of it answered.
  async function renewed() {
    const now = turn;
    let isWhole = true;
    for (const part of $('card').querySelectorAll('[data-live]')) {
      const path = part.dataset.live;
      if (inHand(part) || document.hidden) continue;
      if (path) {
        const answer = await call(path);
        if (now !== turn) return;
        if (answer.status === 404) {
          if (!path.startsWith(`${INSIDE}/runs/`)) return missing((await answer.json()).error?.message);
          runIsOver(part);
        } else if (!answer.ok) isWhole = false;
        if (!answer.ok) continue;
        const text = await html(answer);
        if (!part.isConnected || part.said === text) continue;
        const before = acts(part);
        const made = make('template');
        fill(made, part.said = text);
        morph(part, made.content);
        if (before !== acts(part)) settle(part);
        continue;
      }
      const mine = at;
      const answer = await call(inside(mine));
      if (now !== turn) return;
      if (answer.status === 404) return missing((await answer.json()).error?.message);
      if (!answer.ok) return;
      const text = await html(answer);
      if (now !== turn || at !== mine || text === said || inHand(part)) return;
      const focus = heldIn(part);
      const wide = [...part.querySelectorAll('details[open]')].map((one) => one.id);
      const why = part.querySelector('[data-notice]:not([hidden])')?.textContent;
      place(text, true);
      if (why) notice(current(), why, 'stays');
      for (const id of wide) if (id && $(id)) $(id).open = true;
      if (focus) focusAgain(focus);
    }
    return isWhole;
  }

  // --- acts of a page: calls of the owner's table ---

  // A button that asks whether you are sure does so for a while, and until it was refused: then the page goes on.
  const ARMED = 10000; // ms
  // Whether this press only asks; the next one is for these words.
  function asks(button, sure = button.dataset.sure) {
    if (!sure || ('sureNow' in button.dataset && button.firstChild.textContent === sure)) return false;
    disarm(button);
    button.dataset.sureNow = button.firstChild.textContent;
    button.textContent = sure;
    say(`${sure}: press again.`);
    settle(button);
    const wait = () => { button.armed = setTimeout(() => (button.closest('[data-busy]') ? wait() : disarm(button)), ARMED); };
    wait();
    return true;
  }
  function disarm(button) {
    clearTimeout(button.armed);
    if (!('sureNow' in button.dataset)) return;
    button.textContent = button.dataset.sureNow;
    delete button.dataset.sureNow;
    renewSoon();
  }

  // A revocation ends more than a grant, and comes too late for some calls.
  function endedToo(all) {
    const of = (name) => all.flatMap((done) => (Array.isArray(done[name]) ? done[name] : []));
    const stopped = of('cancelled');
    const flying = new Set(of('inFlight').filter((id) => !stopped.some((one) => one.auditId === id)));
    const lines = { 'requests and approvals ended': of('ended').length, 'asked to stop, and perhaps done all the same': stopped.length, 'already sent before this, and not stopped': flying.size };
    return Object.entries(lines).map(([words, count]) => (count ? `; ${words}: ${count}` : '')).join('');
  }
  async function sent(button) {
    if (asks(button)) return;
    turn += 1;
    const mine = at;
    const done = await told(API + button.dataset.send, JSON.parse(button.dataset.body || '{}'), button.dataset.method)
      .finally(() => disarm(button));
    const card = done.error?.next?.split('approvals show ')[1];
    if (card) return go(`${REQUESTS}/${card}`);
    if (!done.ok) return notice(button.closest('article'), done.why);
    // What came of a sign-in at its server has words of its own.
    const of = (done.server || done.sign_out)?.cameTo;
    // An act that ends another takes its note away.
    for (const one of [...$('notes').children]) if (one.textContent.startsWith(button.dataset.ends)) one.remove();
    noted(((of && button.getAttribute(`data-done-${of}`)) || button.dataset.done) + endedToo([done]), done);
    await afresh(mine, button.dataset.then);
  }

  // A form's members by their names; a field that was left empty is left out, and one of a list adds to it.
  // Of one that shows how things are, what was changed is sent: the rest may have been changed elsewhere meanwhile.
  function members(form) {
    const made = {};
    for (const field of form.elements) {
      if (!field.name || field.disabled || ('changes' in form.dataset && !isTouched(field))) continue;
      const box = field.type === 'checkbox' || field.type === 'radio';
      const typed = box ? field.value : field.value.trim();
      if (box && !field.checked) continue;
      if ('list' in field.dataset) (made[field.name] ??= []).push(typed);
      else if (field.type === 'checkbox') made[field.name] = true;
      else if (typed) made[field.name] = field.type === 'number' ? Number(typed) : typed;
    }
    return made;
  }

  async function sentForm(form) {
    turn += 1;
    const mine = at;
    const made = members(form);
    if ('changes' in form.dataset && !Object.keys(made).length) return notice(form, 'Nothing is changed in this form.');
    const done = await told(form.dataset.formSend, made);
    if (!done.ok) return refused(form, done.error, done.why);
    note(done.said || form.dataset.done);
    done.notes?.forEach(note);
    emptied(form);
    await afresh(mine);
  }

  // The answer is a page: it holds what no address gives again.
  async function sentForPage(form) {
    const mine = at;
    const { id } = members(form);
    const answer = await call(form.dataset.formPage, members(form));
    const text = await answer.text();
    if (!answer.ok) return refusedAs(form, JSON.parse(text));
    emptied(form);
    if (mine !== at) {
      note(`Connected — ${id}. You left the page that shows its code; another one: plexusctl agents code ${id}`);
      return renewSoon();
    }
    place(text);
    shownOf = null;
    window.scrollTo(0, 0);
    current().querySelector('h2').focus({ preventScroll: true });
    await renew();
  }

  // Looked at first; what is added is what was shown, by its digest.
  const LONG = 120000; // ms: a server is started for it
  async function stepped(form, step, by, isBack) {
    const seen = form.querySelector('[data-previewed]');
    const body = members(form);
    const mine = at;
    if (step === 'list') delete body.server;
    // The ticks are of the tools that are shown: they go with no look at another server.
    const server = JSON.stringify([body.program, body.arguments, body.url, body.ca, body.block, body.server]);
    if (step !== 'add' && !(by?.closest('#reads') && seen.server === server)) delete body.reads;
    // An owner who does not wait for a sign-in begins another.
    if (seen.querySelector('[data-awaits]') && !isBack) delete body.signIn;
    if (step !== 'add') {
      const [all, end] = [[...seen.childNodes], seen.querySelector('[name=server]') ? seen.querySelector('[value=preview]') : null];
      const list = all.slice(0, all.findIndex((one) => one.contains(end)) + 1);
      seen.replaceChildren();
      const asked = JSON.stringify(members(form));
      const words = 'asks' in form.dataset && step === 'preview' ? 'Asking the server…' : 'Looking…';
      const answer = await counting(form, words, () => call(`${form.dataset.steps}/preview`, body, undefined, LONG));
      const text = await answer.text();
      if (!form.isConnected) return notice(form, 'What you looked at is not shown any more: look at it again.');
      if (asked !== JSON.stringify(members(form))) return notice(form, 'The fields were changed meanwhile: look at it again.');
      if (!answer.ok) {
        if (step !== 'list') seen.replaceChildren(...list);
        return refusedAs(form, JSON.parse(text));
      }
      fill(seen, text);
      seen.server = server;
      seen.querySelector('h3[tabindex]').focus();
      const place = seen.querySelector('[data-awaits]');
      if (!place) return settle(form);
      awaited(form, place).catch(unanswered);
      return;
    }
    const done = await counting(form, 'Under way…', () => told(`${form.dataset.steps}/add`, body, undefined, LONG));
    if (!done.ok) return refused(form, done.error, done.why);
    const id = done.source?.id || done.source || done.id;
    noted(`${form.dataset.done || 'Added'} — ${done.summary || id}`, done);
    if (done.warning) note(`It cannot be used now: ${done.warning}`);
    done.notes?.forEach(note);
    if ('stays' in form.dataset && form.isConnected) {
      await renewList().catch(unanswered);
      return stepped(form, 'list');
    }
    emptied(form);
    await afresh(mine, form.dataset.then || `/admin/sources/${encodeURIComponent(id)}`);
  }

  // The list of a page that stays, with what was added.
  async function renewList() {
    const [mine, made] = [at, make('template')];
    const answer = await call(inside(mine));
    if (!answer.ok || mine !== at) return;
    fill(made, await html(answer));
    $('installed')?.replaceWith(made.content.querySelector('#installed'));
  }

  // Says on the button how long it is at it.
  async function counting(form, words, work) {
    const button = form.querySelector('button[value=add]') || form.querySelector('button[type=submit]');
    const before = button.textContent;
    const since = Date.now();
    const tick = () => { button.textContent = `${words} ${Math.round((Date.now() - since) / 1000)} s`; };
    tick();
    say(words);
    const clock = setInterval(tick, 1000);
    try { return await work(); } finally {
      clearInterval(clock);
      button.textContent = before;
    }
  }

  // The owner signs in elsewhere; the form goes on once they are back. Beginning again ends the wait.
  async function awaited(form, place) {
    const path = `${API}/sign-ins/${encodeURIComponent(place.dataset.awaits)}?wait=20`;
    while (place.isConnected) {
      const now = await told(path, undefined, undefined, 2 * WAIT).catch((error) => {
        if (error.message === 'signed out') throw error;
        return sleep(2000);
      });
      if (!place.isConnected || !now || now.stage === 'waiting') continue;
      if (now.stage === 'signed-in') return alone(form, () => stepped(form, place.dataset.step, null, true));
      place.closest('[data-previewed]').replaceChildren();
      return notice(form, now.why);
    }
  }

  // Each on its own; the first that is refused ends it, and the rest is said.
  async function sentMany(form) {
    const chosen = [...form.querySelectorAll('[name=many]:checked')];
    if (!chosen.length) return notice(form, 'Choose at least one.');
    turn += 1;
    const mine = at;
    let gone = 0;
    const all = [];
    for (const [count, box] of chosen.entries()) {
      const done = await told(API + form.dataset.many, JSON.parse(box.value));
      if (done.ok) { box.checked = false; all.push(done); continue; }
      if (!done.answered) return notice(form, `${count} of ${chosen.length} are done${endedToo(all)}. ${done.why}`);
      gone += 1;
    }
    note(`${form.dataset.done}: ${all.length}${gone ? `; ${gone} were gone already` : ''}${endedToo(all)}`);
    await afresh(mine);
  }

  // Each goes with the digest of its own card; those that are not as they were listed are left, and said.
  async function decided(form, act) {
    if (!act) return;
    const rows = [...form.querySelectorAll('[data-digest]')];
    const reason = act === 'deny' && form.reason.value.trim();
    const items = rows.map((row) => ({ id: row.dataset.id, cardDigest: row.dataset.digest }));
    const title = titleOf(current());
    const yes = act === 'approve';
    const held = yes && 'held' in current().dataset ? ' (done when you resume all agents)' : '';
    const [key, from] = [shownOf, at];
    turn += 1;
    const done = await told(`${INSIDE}/together`, { action: act, items, ...(reason && { reason }) });
    if (!done.answered) return notice(form, done.why);
    drafts.delete(key);
    for (const id of done.decided) { mine.add(id); known.delete(id); }
    form.reset();
    const nameOf = (id) => {
      const row = rows.find((one) => one.dataset.id === id);
      return (row.querySelector('.headline') || row.querySelector('b')).textContent;
    };
    const left = done.refused;
    if (left.length) {
      const line = note(`Not ${yes ? 'approved' : 'denied'} — `);
      line.classList.add('bad');
      linked(line, left.map(({ id, why }) => [id, `${nameOf(id)}. ${why}`]));
      say(line.textContent);
    }
    const words = `${yes ? 'Approved' : 'Denied'} ${done.decided.length}${held}${left.length ? `, and ${left.length} not` : ''} — ${title}`;
    const batch = { words, line: note(words), done: 0, failed: [], names: new Map(done.decided.map((id) => [id, nameOf(id)])) };
    if (yes) for (const id of done.decided) follow(id, { batch });
    if (from !== at) return soon();
    if (!left.length) return go(REQUESTS);
    history.pushState(null, '', `${REQUESTS}/${encodeURIComponent(left[0].id)}`);
    here();
    await load(left[0].id, `Not ${yes ? 'approved' : 'denied'} with the others. ${left[0].why}`);
    soon();
  }

  // Shows the page of an act again, or the one that it leads to, unless it was left meanwhile. Shown anew, it would have lost a
  // sign-in that is waited for, and what was looked at; and one that is drawn anew by its parts keeps the rest.
  const STEP = '[data-awaits], [data-previewed] > *, [data-steps][data-busy], [data-parts]';
  async function afresh(mine, to) {
    if (mine !== at || (!to && mine === shownOf && $('card').querySelector(STEP))) return renewSoon();
    await (to ? go(to) : mine ? page(mine) : route()).catch(unanswered);
  }

  const refusedAs = (form, said) => refused(form, said.error, said.reason || said.error?.message || 'It was refused.');

  // Enter opens the first of what is found for the words as they are then.
  async function find(opens) {
    const sought = $('find').value.trim();
    const answer = await call(`${INSIDE}/find?q=${encodeURIComponent(sought)}`);
    if (!answer.ok || sought !== $('find').value.trim()) return;
    fill($('found'), await html(answer));
    $('found').hidden = !$('found').firstElementChild;
    say(`Found: ${$('found').childElementCount}`);
    if (opens) $('found').querySelector('a')?.click();
  }

  // --- sources ---

  const SOURCE = `${API}/sources`;
  const of = (id, act) => `${SOURCE}/${encodeURIComponent(id)}${act}`;

  async function told(path, body, method, wait) {
    const answer = await call(path, body, method, wait);
    const said = await answer.json();
    const why = said.reason || said.why || said.error?.message || 'There was nothing to do: it is gone already.';
    return { ...said, ok: answer.ok && said.ok !== false && said.known !== false, answered: answer.ok, why };
  }

  // How a source does, found out now; none where it is disabled.
  async function tested(id) {
    return (await told(`${API}/health`)).sources.find((one) => one.id === id);
  }

  // Whether words hold this value as a whole; one of few characters is part of too many words.
  function hasWhole(words, value) {
    if (value.length < 4) return false;
    const inWord = (one) => /[\p{L}\p{N}_]/u.test(one || '');
    for (let at = words.indexOf(value); at >= 0; at = words.indexOf(value, at + 1)) {
      if (!inWord(words[at - 1]) && !inWord(words[at + value.length])) return true;
    }
    return false;
  }

  // Beside the field that it is about: the one that is named, or whose remedy or value the words hold.
  function remedy(form, id, why, name) {
    const fields = [...form.querySelectorAll('[data-goes]')];
    const secrets = fields.filter((field) => field.dataset.goes === 'secret');
    const about = fields.find((field) => why.includes(`${id} ${field.dataset.name}`))
      || (why.includes('plexusctl sources secret') && secrets.length === 1 && secrets[0])
      || (why.includes("the source's folder") && form.querySelector('[data-root]'))
      || fields.find((field) => field.dataset.goes === 'route' && hasWhole(why, field.value.trim()));
    const place = form.querySelector(`[data-for="${CSS.escape(name || about?.dataset.name || '')}"]`);
    // A command that sets a secret is this form's own field; of a source that is not there it would find none.
    for (const field of secrets) {
      const label = field.labels[0].firstChild.textContent.trim();
      why = why.replaceAll(`plexusctl sources secret ${id} ${field.dataset.name}`, `fill in “${label}”${field.dataset.instead ? ` or “${field.dataset.instead}”` : ''}`);
    }
    if (!place || !form.isConnected) return notice(form, why);
    place.textContent = why;
    place.hidden = false;
    form.querySelector(`[data-name="${CSS.escape(place.dataset.for)}"]`).focus();
  }

  async function testing(button, work) {
    const words = button.firstChild.textContent;
    button.textContent = 'Testing…';
    try { return await work(); } finally { button.textContent = words; }
  }

  const grantsOn = async (id) => (await told(`${API}/grants`)).grants.filter((one) => one.capabilityId.startsWith(`${id}.`));

  // A change that grants do not outlive is saved by a second press.
  async function saving(form, button) {
    const id = form.dataset.source;
    const touched = [...form.querySelectorAll('[data-goes], [data-name=ask]')].filter(isTouched);
    const does = touched.every((one) => 'suspends' in one.dataset) && !isTouched($('f-label')) ? 'suspends' : 'revokes';
    const count = id && touched.length && (await grantsOn(id)).filter((one) => does === 'revokes' || !one.suspended).length;
    if (count && asks(button, `Really save: this ${does} ${count} grant${count > 1 ? 's' : ''}`)) return;
    await testing(button, () => saved(form)).finally(() => disarm(button));
  }

  async function saved(form) {
    const mine = at;
    const field = (name) => form.querySelector(`[data-name="${name}"]`);
    const id = form.dataset.source || field('id').value.trim();
    const there = (await told(SOURCE)).sources.find((one) => one.id === id);
    if (form.dataset.source && !there) return notice(form, `There is no source ${id} any more: somebody removed it.`);
    if (there && !form.dataset.source) return remedy(form, id, 'There is a source of this id: choose another.', 'id');
    const route = { ...there?.route };
    const secrets = [];
    for (const one of form.querySelectorAll('[data-goes]')) {
      const name = one.dataset.name;
      if (one.dataset.goes === 'secret') { if (one.value) secrets.push([name, one.value]); }
      else if (there && !isTouched(one)) continue;
      else if (one.value.trim()) route[name] = one.value.trim();
      else delete route[name];
    }
    const label = there && !isTouched(field('label')) ? there.label : field('label').value.trim() || id;
    const ask = field('ask');
    const body = { label, route, ...((!there || isTouched(ask)) && { approval: ask.checked ? 'ask' : null }) };
    const before = there ? await grantsOn(id) : [];
    const ended = async () => {
      const now = before.length ? await grantsOn(id) : [];
      const named = (all) => all.map((one) => `${one.agentId}: ${one.capabilityId}`);
      const gone = named(before).filter((one) => !named(now).includes(one));
      const rest = (all) => named(all.filter((one) => one.suspended));
      const waits = rest(now).filter((one) => !rest(before).includes(one)).length;
      return (gone.length ? `. Revoked grants: ${gone.length} (${gone.slice(0, 5).join(', ')}${gone[5] ? ', …' : ''})` : '') + (waits ? `. Grants suspended until you approve them: ${waits}` : '');
    };
    const refuse = async (why, name) => {
      const words = await ended();
      if (words) note(`Changed — ${id}${words}`);
      remedy(form, id, why, name);
    };
    const put = there ? await told(of(id, '/reconfigure'), body)
      : await told(SOURCE, { id, kind: form.dataset.form, enabled: true, onlyNew: true, ...body });
    if (!put.ok) return refuse(put.why, put.field || put.error?.detail?.field);
    const undo = async (why, name) => {
      if (!there) await told(of(id, ''), undefined, 'DELETE');
      await refuse(`${there ? 'Saved, and' : 'Not added:'} ${why}`, name);
    };
    for (const [name, value] of secrets) {
      const set = await told(`${API}/secrets/${encodeURIComponent(`${id}.${name}`)}`, { value });
      if (!set.ok) return undo(set.why, name);
    }
    const now = await tested(id);
    if (now?.status === 'unavailable') return undo(now.detail);
    if (!there && now && !['ok', 'degraded'].includes(now.status)) return undo(now.detail || 'It did not answer in time.');
    const shared = put.sharesFolderWith ? `. It shares a folder with ${put.sharesFolderWith.join(', ')}: each has its own grants, and hides on its own` : '';
    note(`${there ? 'Changed' : 'Added'} — ${id}${now && now.status !== 'ok' ? `: ${now.detail || now.status}` : ''}${await ended()}${shared}`);
    emptied(form);
    await afresh(mine, '/admin/sources');
  }

  async function act(row, button) {
    const id = row.dataset.source;
    const what = button.dataset.act;
    const mine = at;
    if (what === 'test') {
      const now = await testing(button, () => tested(id));
      // In place of a command the page has a way of its own.
      const [words, does] = (now ? now.detail || { ok: 'serves' }[now.status] || now.status : 'disabled: enable it first').split(/: plexusctl (?!upgrade)/);
      row.querySelector('[data-state]').textContent = words;
      note(`${id}: ${words}`);
      return does && afresh(mine);
    }
    if (asks(button)) return;
    const done = await (what === 'remove' ? told(of(id, ''), undefined, 'DELETE') : told(of(id, `/${what}`), {})).finally(() => disarm(button));
    if (!done.answered) return notice(row.closest('article'), done.why);
    note(done.ok ? `${{ enable: 'Enabled', disable: 'Disabled', remove: 'Removed' }[what]} — ${id}` : `${id}: ${done.why}`);
    await afresh(mine);
  }

  // An act that takes longer says so on its button, which counts the seconds; a form of steps does so itself.
  const LONGER = 1000; // ms
  async function working(button, work) {
    const since = Date.now();
    const mark = make('span');
    const clock = button && setInterval(() => {
      if (!button.isConnected) return clearInterval(clock);
      if (!mark.textContent) say('It is under way.');
      if (!mark.isConnected) button.append(mark);
      mark.textContent = ` · ${Math.round((Date.now() - since) / 1000)} s`;
    }, LONGER);
    try { return await work(); } finally {
      clearInterval(clock);
      mark.remove();
    }
  }

  const hush = (part) => part?.querySelectorAll('[data-notice], [data-for]').forEach((old) => { old.hidden = true; });

  // One act at a time; whether an unanswered one happened, the list tells.
  async function alone(place, work, button) {
    if ('busy' in place.dataset) return say('Not taken: what you asked for before is still under way.');
    place.dataset.busy = '';
    place.shownOf = shownOf;
    place.sent = new Map(partsOf(place, HALF).map((field) => [field, draftOf(field)]));
    hush(place.closest('article') || place);
    try { await working(button, work); } catch (error) {
      if (error.message === 'signed out') keepLeft(place);
      else notice(place.matches('form') ? place : place.closest('article'), 'The gateway did not answer. Whether this was done is not known; see the list.');
    } finally { delete place.dataset.busy; }
  }

  // --- hands ---

  document.addEventListener('click', async (event) => {
    if (event.target.closest('.skip')) {
      event.preventDefault();
      return $('card').focus();
    }
    const link = event.target.closest('a[href^="/admin"]');
    if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
      event.preventDefault();
      const to = link.getAttribute('href');
      if (link.closest('#found')) {
        $('find').value = '';
        $('find').blur();
      }
      return go(to).catch(unanswered);
    }
    const hit = event.target.closest('button');
    if (!hit) return;
    if (hit.dataset.id) {
      await go(`${REQUESTS}/${encodeURIComponent(hit.dataset.id)}`).catch(unanswered);
      heading().focus();
    } else if (hit.dataset.send || hit.dataset.act) {
      // The second click of a double one means what the first did: it confirms nothing.
      if (event.detail > 1 || isEarly(hit)) return;
      const row = hit.closest('[data-source]');
      await (hit.dataset.send ? alone(hit, () => sent(hit), hit) : alone(row, () => act(row, hit), hit));
    } else if (hit.dataset.copy) {
      await navigator.clipboard.writeText($(hit.dataset.copy).textContent);
      say(hit.textContent = 'Copied');
    } else if ('goOn' in hit.dataset) {
      open = null; // what comes of the card that is left draws it no more
      await next().catch(unanswered);
      heading().focus();
    } else if (hit.dataset.rows) {
      await alone(hit, async () => {
        const answer = await call(hit.dataset.rows);
        if (!answer.ok) return soon();
        hit.closest('tr').replaceWith(await parsed(answer));
      }, hit);
    } else if (hit.dataset.next) {
      await alone(hit, () => unroll(hit.parentElement, hit.dataset.next, hit), hit);
    } else if (hit.id === 'sign-out') {
      leaving = true;
      let words = 'You are signed out.';
      try {
        await call('/admin/console/sign-out', {});
        TABS.postMessage('signed out');
      } catch (error) {
        // One that was refused has ended already.
        if (error.message !== 'signed out') words = 'The gateway did not answer: this tab is signed out, and others may not be.';
      }
      drafts.clear();
      signedOut(words);
    }
  });

  async function unroll(place, path, button) {
    if ('loading' in place.dataset) return;
    place.dataset.loading = '';
    try {
      const answer = await call(path);
      if (!answer.ok) return;
      const made = await parsed(answer);
      if (button) button.remove();
      place.append(made);
    } finally { delete place.dataset.loading; }
  }

  document.addEventListener('toggle', (event) => {
    const path = event.target.dataset && event.target.dataset.everything;
    const place = path && event.target.querySelector('div');
    if (place && event.target.open && !place.firstChild) unroll(place, path).catch(unanswered);
  }, true);

  document.addEventListener('submit', (event) => {
    event.preventDefault();
    const { target: form, submitter: by } = event;
    if (!form.dataset.filter && isEarly(by || form)) return;
    if (form.id === 'key-form') {
      const key = $('key').value.trim();
      $('key').value = '';
      if (key) signIn({ key });
    } else if (form.dataset.form) {
      const button = form.querySelector('[type=submit]');
      alone(form, () => saving(form, button), button);
    } else if (form.dataset.formSend) {
      alone(form, () => sentForm(form), by);
    } else if (form.dataset.formPage) {
      alone(form, () => sentForPage(form), by);
    } else if (form.dataset.steps) {
      alone(form, () => stepped(form, by?.value, by));
    } else if (form.dataset.many) {
      alone(form, () => sentMany(form), by);
    } else if ('together' in form.dataset) {
      alone(form, () => decided(form, by?.value), by);
    } else if (form.dataset.filter) {
      filter(form);
    } else if ('answer' in form.dataset) {
      // Enter in a field does nothing but in the reason, where it denies: nothing is approved by the way.
      const act = by?.value;
      if (act) answer(form, act);
    }
  });

  // What is asked for stands in the address.
  function filter(form) {
    const asked = new URLSearchParams(members(form)).toString();
    go(form.dataset.filter + (asked ? `?${asked}` : '')).catch(unanswered);
  }
  document.addEventListener('change', (event) => {
    const form = event.target.closest('form[data-filter]');
    if (form && event.target.tagName === 'SELECT') filter(form);
    // With other ticks than it was looked at with it would be refused.
    const ticks = event.target.closest('#reads');
    if (ticks) ticks.closest('form').querySelector('[value=add]').disabled = [...ticks.querySelectorAll('input')].some(isTouched);
  });

  let finding = null;
  document.addEventListener('input', (event) => {
    if (event.target.id === 'find') {
      clearTimeout(finding);
      finding = setTimeout(() => find().catch(() => {}), 120);
      return;
    }
    const form = event.target.closest('form[data-answer]');
    if (form) sum(form);
    else outdated(event);
  });
  // A refusal is of what was sent: it goes as soon as that is another, or the browser has a check of its own to say.
  function outdated(event) {
    hush(event.target.closest('form:not([data-answer])')?.closest('article'));
  }
  document.addEventListener('invalid', outdated, true);

  for (const sign of ['keydown', 'pointerdown']) document.addEventListener(sign, () => { active = true; }, true);

  // The palette: down and up go through what it found, Enter opens one.
  function inFinder(event) {
    const links = [...$('found').querySelectorAll('a')];
    const on = links.indexOf(document.activeElement);
    if (event.key === 'ArrowDown') (links[on + 1] || links[on])?.focus();
    else if (event.key === 'ArrowUp') (on > 0 ? links[on - 1] : $('find')).focus();
    else if (event.key === 'Enter' && event.target.id === 'find') find(true).catch(unanswered);
    else if (event.key === 'Escape') {
      $('find').value = '';
      $('found').hidden = true;
      heading().focus();
    } else return;
    event.preventDefault();
  }

  let led = 0; // when `g` was pressed
  // Each page underlines its letter.
  const byLetter = (letter) => [...$('nav').querySelectorAll('a')].find((link) => link.querySelector('u').textContent.toLowerCase() === letter);

  // A person who types goes on when the field goes: those keys are no shortcuts, until a pause.
  const PAUSE = 1000; // ms
  let typing = -PAUSE;
  document.addEventListener('pointerdown', () => { typing = -PAUSE; }, true);

  document.addEventListener('keydown', (event) => {
    // A key of an input method: Enter takes its suggestion.
    if (event.isComposing || event.keyCode === 229) return;
    if (event.target.closest('#finder')) return inFinder(event);
    // A key that is held presses a button once: it confirms nothing.
    if (event.repeat && event.key === 'Enter' && event.target.closest('button')) return event.preventDefault();
    if (event.key === 'Escape' && $('about')?.open) {
      $('about').open = false;
      return $('about-head').focus();
    }
    const field = event.target.closest('input, textarea, select');
    if (field) typing = /^(Enter|Escape|Tab)$/.test(event.key) || field.matches('[type=radio], [type=checkbox]') ? -PAUSE : event.timeStamp;
    else if (event.timeStamp - typing < PAUSE) {
      typing = event.timeStamp;
      return event.preventDefault();
    }
    if (field && event.key === 'Enter' && field.form && 'answer' in field.form.dataset) {
      event.preventDefault();
      if (field.id === 'reason') answer(field.form, 'deny');
      return;
    }
    // Nor does it act in a form that gives or takes something: its button does.
    if (field && event.key === 'Enter' && field.tagName !== 'TEXTAREA' && field.form?.matches('[data-many], [data-together], [data-form], [data-form-page], [data-form-send]:not([data-enter]), [data-steps]')) {
      event.preventDefault();
      return;
    }
    if (field && event.key === 'Escape') return heading().focus();
    if (event.ctrlKey || event.metaKey || event.altKey || (field && field.type !== 'radio') || $('desk').hidden) return;
    const form = at ? null : current()?.querySelector('form');
    const letter = event.key.toLowerCase();
    const linked = Date.now() - led < 1500 && byLetter(letter);
    if (linked) {
      led = 0;
      event.preventDefault();
      return linked.click();
    }
    switch (letter) {
      case 'g': led = Date.now(); break;
      case '/': $('find').focus(); break;
      case '?': $('keys').classList.toggle('all'); break;
      case 'j': case 'k': {
        const rows = [...$('queue').querySelectorAll('.ticket')];
        const on = rows.findIndex((row) => row.dataset.id === open);
        const to = rows[letter === 'j' ? on + 1 : on - 1];
        if (to) to.click();
        break;
      }
      case 'a': form?.querySelector('[value=once], [value=reply], [data-value]')?.focus(); break;
      case 'w': {
        const longer = form?.querySelector('.longer');
        if (longer) { longer.open = true; longer.querySelector('input:enabled').focus(); }
        break;
      }
      case 'd': (form?.reason || form?.querySelector('[value=deny]'))?.focus(); break;
      default: return;
    }
    event.preventDefault();
  });

  // --- begin ---

  function begin() {
    $('here').textContent = `${location.origin}/admin`;
    const link = location.hash.startsWith('#plx_link_') ? location.hash.slice(1) : null;
    if (link) {
      history.replaceState(null, '', location.pathname);
      signIn({ link });
    } else if (sessionStorage.getItem(TAB)) {
      enter();
    } else if ($('desk').hidden) {
      signedOut('');
    }
  }
  window.addEventListener('popstate', (event) => {
    clearTimeout(moved);
    if (!$('desk').hidden && !location.hash.startsWith('#plx_link_')) route(event.state?.y).catch(unanswered);
  });
  window.addEventListener('hashchange', () => { if (location.hash.startsWith('#plx_link_')) begin(); });
  document.addEventListener('visibilitychange', () => {
    if ($('desk').hidden) return;
    if (document.hidden) return hide();
    soon();
    renewSoon();
    listen();
  });
  setInterval(() => { if (!$('desk').hidden) { soon(); renewSoon(); followSoon(); } }, 30000);
  begin();
})();
