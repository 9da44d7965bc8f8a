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
  const fill = (place, text) => { place.innerHTML = HTML.createHTML(text); };
  // Said after what was said before, not instead of it: two things may happen at one moment.
  function say(text) {
    const line = document.createElement('p');
    line.textContent = text;
    $('announce').append(line);
    while ($('announce').children.length > 4) $('announce').firstChild.remove();
  }
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

  let active = true;      // the owner has touched the page since the last request
  let stream = null;      // ends the event stream
  let open = null;        // id of the open request
  let known = new Map();  // id -> revision of what waits
  let shown = { queue: '', glance: '' };
  let mine = new Set();   // ids decided here
  let seen = null;        // the card that the owner has in front of them: its id and digest
  let turn = 0;           // of two cards on their way the later one counts
  let fresh = true;       // nothing was shown yet: what waits is not news

  async function call(path, body) {
    const headers = { 'x-plexus-tab': sessionStorage.getItem(TAB) || '' };
    if (active) headers['x-plexus-active'] = '1';
    active = false;
    const how = { headers, cache: 'no-store', credentials: 'same-origin', redirect: 'error' };
    if (body !== undefined) {
      how.method = 'POST';
      headers['content-type'] = 'application/json';
      how.body = JSON.stringify(body);
    }
    how.signal = path === '/admin/console/events' ? stream.signal : AbortSignal.timeout(WAIT);
    const answer = await fetch(path, how).catch((error) => {
      if (error.name === 'TimeoutError') note('The gateway did not answer. If other windows show this page, close some of them.');
      throw error;
    });
    if (answer.status === 401 && path !== '/admin/console/sign-in') {
      signedOut('You are signed out: the session ended, or the gateway was restarted.');
      throw new Error('signed out');
    }
    return answer;
  }

  // --- coming and going ---

  function signedOut(why) {
    sessionStorage.removeItem(TAB);
    hide();
    open = null;
    known = new Map();
    shown = { queue: '', glance: '' };
    fresh = true;
    for (const id of ['glance', 'queue', 'card', 'notes', 'announce']) $(id).replaceChildren();
    for (const id of ['desk', 'sources', 'changes', 'sign-out']) $(id).hidden = true;
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
    enter();
  }

  function enter() {
    $('door').hidden = true;
    $('key').value = '';
    for (const id of ['desk', 'sources', 'sign-out']) $(id).hidden = false;
    listen();
  }

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
      try {
        const answer = await call('/admin/console/events');
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        live('live');
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
      await sleep(1000);
    }
  }

  function live(word) {
    $('live').textContent = word;
    $('live').classList.toggle('on', word === 'live');
  }

  function heard(frame) {
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
      const answer = await call('/admin/console/view');
      if (answer.ok) await show(await answer.json());
    } catch { /* `listen` notices too */ } finally { busy = false; }
  }

  async function show(view) {
    const before = known;
    known = new Map(view.items);
    if (shown.glance !== view.glance) {
      const wide = $('about') && $('about').open;
      fill($('glance'), shown.glance = view.glance);
      if (wide) $('about').open = true;
    }
    if (shown.queue !== view.queue) {
      const held = document.activeElement && document.activeElement.dataset.id;
      fill($('queue'), shown.queue = view.queue);
      if (held) ticket(held)?.focus();
    }
    $('changes').hidden = !view.changes;
    document.title = view.waiting ? `(${view.waiting}) Plexus` : 'Plexus';
    const come = [...known.keys()].filter((id) => !before.has(id));
    if (come.length && !fresh) tell(come[0], view.waiting);
    fresh = false;
    const card = current();
    if (open && known.has(open)) {
      if (!card || Number(card.dataset.revision) !== known.get(open)) await load(open);
    } else if (open && card && card.dataset.state === 'pending') {
      await load(open); // decided elsewhere, or lapsed: the card says so
    }
    if (!open) await next();
    $('quiet').hidden = Boolean(open);
    mark();
  }

  function tell(id, waiting) {
    const row = ticket(id);
    if (row) say(`${row.dataset.news || 'New request from'} ${row.querySelector('.agent').textContent}: ${row.querySelector('.title').textContent}. ${waiting} waiting.`);
  }

  const ticket = (id) => $('queue').querySelector(`[data-id="${CSS.escape(id)}"]`);
  const current = () => $('card').querySelector('article');

  function mark() {
    for (const row of $('queue').querySelectorAll('.ticket')) {
      if (row.dataset.id === open) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
  }

  // --- one request ---

  async function next() {
    const first = [...known.keys()].find((id) => !mine.has(id));
    if (first) return load(first);
    open = null;
    $('card').replaceChildren();
    $('quiet').hidden = false;
  }

  async function load(id, why) {
    const mine = ++turn;
    const answer = await call(`/admin/console/pending/${encodeURIComponent(id)}`);
    if (mine !== turn) return;
    if (!answer.ok) {
      if (open === id) open = null;
      return;
    }
    const text = await answer.text();
    if (mine !== turn) return;
    const before = open === id ? current() : null;
    const typed = before?.querySelector('#reason')?.value;
    const inside = $('card').contains(document.activeElement);
    const on = inside && document.activeElement.id;
    open = id;
    $('quiet').hidden = true;
    fill($('card'), text);
    mark();
    const card = current();
    const form = card.querySelector('form');
    if (before && form) {
      if (typed && form.reason) form.reason.value = typed;
      if (on === 'reason') form.reason.focus();
      if ('making' in before.dataset && !('making' in card.dataset)) say('It is now clear what the request would do.');
    }
    if (inside && !$('card').contains(document.activeElement)) card.querySelector('h2').focus();
    const digest = card.dataset.digest;
    if (form && (why || (digest && seen?.id === id && seen.digest && seen.digest !== digest))) notice(form, why || CHANGED);
    if (digest || seen?.id !== id) seen = { id, digest: digest || undefined };
    if (!form) say(card.querySelector('.verdict').textContent.trim());
    else settle(form);
  }

  function notice(form, text) {
    const place = form.querySelector('[data-notice]');
    place.textContent = text;
    place.hidden = false;
    place.scrollIntoView({ block: 'nearest' });
  }

  // What has just appeared takes no answer: a key or a click on its way was meant for something else.
  function settle(form) {
    form.dataset.fresh = '';
    setTimeout(() => { delete form.dataset.fresh; }, READING);
  }

  function constraint(form) {
    const made = {};
    for (const field of form.querySelectorAll('[data-narrow]')) {
      const value = field.value.trim();
      if (!value) continue;
      if (field.dataset.kind === 'path') made.pathPrefix ??= { field: field.dataset.narrow, allow: [value] };
      else made.allow ??= { field: field.dataset.narrow, values: [value] };
    }
    const calls = Number(form.calls?.value || 0);
    if (calls > 0) made.maxCalls = calls;
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
      // What is no number goes as it was typed: the gateway says so, and sends nothing.
      const exact = Number.isSafeInteger(number) || (Number.isFinite(number) && !Number.isInteger(number));
      if (as === 'choices') made[name] = [...field.selectedOptions].map((one) => one.value);
      else if (as === 'number') made[name] = exact ? number : typed;
      else if (as === 'boolean') made[name] = typed === 'true';
      else made[name] = field.value;
    }
    return made;
  }

  const SPANS = { '1h': 'for 1 hour', '1d': 'for 1 day', '7d': 'for 7 days', 'until-revoked': 'until I revoke it' };

  function sum(form) {
    const button = form.querySelector('[value=window]');
    const window = form.querySelector('[name=window]:checked')?.value;
    if (!button) return;
    button.disabled = !window;
    button.textContent = window ? `Allow ${SPANS[window]}` : 'Choose a length of time';
    const only = constraint(form) || {};
    const parts = [];
    if (only.pathPrefix) parts.push(`only where ${only.pathPrefix.field} is at or below “${only.pathPrefix.allow[0]}”`);
    if (only.allow) parts.push(`only where ${only.allow.field} is “${only.allow.values[0]}”`);
    if (only.maxCalls) parts.push(only.maxCalls === 1 ? 'one call at most' : `at most ${only.maxCalls} calls`);
    form.querySelector('[data-sum]').textContent = window
      ? `It may then do this ${SPANS[window]} without asking, ${parts.length ? parts.join(', ') : 'anywhere in this source, any number of times'}.`
      : '';
  }

  async function answer(form, act) {
    if ('fresh' in form.dataset || 'busy' in form.dataset) return;
    const card = form.closest('article');
    const id = card.dataset.id;
    const path = `/admin/console/pending/${encodeURIComponent(id)}`;
    const title = `${card.querySelector('.agent').textContent}: ${card.querySelector('h2 b').textContent}`;
    let body, done;
    if (act === 'plan') {
      await call(`${path}/plan`, {});
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
      done = act === 'window' ? `Allowed ${SPANS[window]}` : card.dataset.yes || 'Approved once';
    }
    form.dataset.busy = '';
    try {
      mine.add(id);
      const reply = await call(path, body);
      const said = await reply.json();
      if (reply.ok) {
        note(`${done} — ${title}`);
        for (const missing of said.secretsMissing || []) note(`It serves once its secret ${missing.name} is set: ${missing.next}`);
        known.delete(id);
        open = seen = null;
        await next();
        current()?.querySelector('h2').focus();
        return soon();
      }
      mine.delete(id);
      if (said.error.code === 'card_changed') await load(id, `Not approved. ${CHANGED}`);
      else if (reply.status === 404) await load(id);
      else notice(form, `Nothing was decided: ${said.error.message}`);
    } catch {
      mine.delete(id);
      if (form.isConnected) notice(form, 'The gateway did not answer. Whether this was decided is not known; see the list.');
    } finally {
      delete form.dataset.busy;
    }
  }

  function note(text) {
    const line = document.createElement('li');
    line.textContent = text;
    $('notes').prepend(line);
    while ($('notes').children.length > 3) $('notes').lastChild.remove();
    say(text);
  }

  // --- sources ---

  const SOURCE = '/admin/console/source';
  const of = (id, act) => `${SOURCE}/${encodeURIComponent(id)}/${act}`;

  // `open` names no request meanwhile, so that none takes the page's place by itself.
  async function page(path) {
    const now = ++turn;
    const answer = await call(path);
    if (!answer.ok || now !== turn) return;
    const text = await answer.text();
    if (now !== turn) return;
    open = 'sources';
    seen = null;
    $('quiet').hidden = true;
    fill($('card'), text);
    mark();
    current().querySelector('h2').focus();
  }
  const sources = () => page('/admin/console/sources');

  async function told(path, body) {
    const answer = await call(path, body);
    const said = await answer.json();
    return { ok: answer.ok, why: said.reason || said.error?.message, ...said };
  }

  // How a source does, found out now; none where it is disabled.
  async function tested(id) {
    return (await told('/admin/console/health')).sources.find((one) => one.id === id);
  }

  // Beside the field that it is about: the one that is named, or whose remedy or value the words hold.
  function remedy(form, id, why, name) {
    const fields = [...form.querySelectorAll('[data-goes]')];
    const secrets = fields.filter((field) => field.dataset.goes === 'secret');
    const about = fields.find((field) => why.includes(`${id} ${field.dataset.name}`))
      || (why.includes('plexusctl sources secret') && secrets.length === 1 && secrets[0])
      || (why.includes("the source's folder") && form.querySelector('[data-root]'))
      || fields.find((field) => field.dataset.goes === 'route' && field.value && why.includes(field.value));
    const place = form.querySelector(`[data-for="${CSS.escape(name || about?.dataset.name || '')}"]`);
    if (!place) return notice(form, why);
    place.textContent = why;
    place.hidden = false;
    form.querySelector(`[data-name="${CSS.escape(place.dataset.for)}"]`).focus();
  }

  async function saved(form) {
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
      else if (one.value.trim()) route[name] = one.value.trim();
      else delete route[name];
    }
    const body = { label: field('label').value.trim() || id, route, approval: field('ask').checked ? 'ask' : null };
    const put = there ? await told(of(id, 'reconfigure'), body)
      : await told(SOURCE, { id, kind: form.dataset.form, enabled: true, ...body });
    if (!put.ok) return remedy(form, id, put.why, put.field);
    const undo = async (why, name) => {
      if (!there) await told(of(id, 'remove'), {});
      remedy(form, id, `${there ? 'Saved, and' : 'Not added:'} ${why}`, name);
    };
    for (const [name, value] of secrets) {
      const set = await told(`/admin/console/secrets/${encodeURIComponent(`${id}.${name}`)}`, { value });
      if (!set.ok) return undo(set.why, name);
    }
    const now = await tested(id);
    if (now?.status === 'unavailable') return undo(now.detail);
    if (!there && now && !['ok', 'degraded'].includes(now.status)) return undo(now.detail || 'It did not answer in time.');
    note(`${there ? 'Changed' : 'Added'} — ${id}${now && now.status !== 'ok' ? `: ${now.detail || now.status}` : ''}`);
    await sources();
  }

  async function act(row, button) {
    const id = row.dataset.source;
    const what = button.dataset.act;
    if (what === 'change') return page(`/admin/console/sources/form?id=${encodeURIComponent(id)}`);
    if (what === 'test') {
      const now = await tested(id);
      const words = now ? now.detail || { ok: 'serves' }[now.status] || now.status : 'disabled: enable it first';
      row.querySelector('[data-state]').textContent = words;
      return say(`${id}: ${words}`);
    }
    if (what === 'remove' && !('sure' in button.dataset)) {
      button.dataset.sure = '';
      button.textContent = 'Really remove it, its secrets and its grants';
      return;
    }
    const done = await told(of(id, what), {});
    if (!done.ok) return notice(row.closest('article'), done.why);
    note(`${{ enable: 'Enabled', disable: 'Disabled', remove: 'Removed' }[what]} — ${id}`);
    await sources();
  }

  // --- changes of coding agents ---

  const CHANGES = '/admin/console/changes';
  const ofSet = (id, rest) => `${CHANGES}/${encodeURIComponent(id)}${rest}`;

  async function applied(form) {
    if ('fresh' in form.dataset) return;
    const id = form.dataset.apply;
    const paths = [...form.querySelectorAll('[name=path]:checked')].map((box) => box.value);
    if (!paths.length) return notice(form, 'Choose at least one file.');
    const body = { source: form.dataset.source, paths };
    const plan = await told(ofSet(id, '/plan'), body);
    if (!plan.ok) return notice(form, plan.why);
    if (plan.warnings.length && form.dataset.sure !== plan.stateToken) {
      form.dataset.sure = plan.stateToken;
      settle(form);
      return notice(form, `${plan.warnings.join(' ')} Apply once more if you want that.`);
    }
    const done = await told(ofSet(id, '/apply'), { ...body, stateToken: plan.stateToken });
    if (!done.ok) return notice(form, done.why);
    note(`Applied — ${done.summary}. To undo it: plexusctl undo ${done.auditId}`);
    await page(ofSet(id, ''));
  }

  // One act at a time; whether an unanswered one happened, the list tells.
  async function alone(place, work) {
    if ('busy' in place.dataset) return;
    place.dataset.busy = '';
    for (const old of place.querySelectorAll('[data-notice], [data-for]')) old.hidden = true;
    try { await work(); } catch {
      if (place.isConnected) notice(place.closest('article'), 'The gateway did not answer. Whether this was done is not known; see the list.');
    } finally { delete place.dataset.busy; }
  }

  // --- hands ---

  document.addEventListener('click', async (event) => {
    const hit = event.target.closest('button');
    if (!hit) return;
    if (hit.dataset.id) {
      await load(hit.dataset.id);
      current()?.querySelector('h2').focus();
    } else if ('sources' in hit.dataset) {
      await sources();
    } else if ('changes' in hit.dataset) {
      await page(CHANGES);
    } else if (hit.dataset.set) {
      await page(ofSet(hit.dataset.set, hit.dataset.after ? `?after=${encodeURIComponent(hit.dataset.after)}` : ''));
    } else if (hit.dataset.kind) {
      const found = hit.dataset.found ? `&found=${encodeURIComponent(hit.dataset.found)}` : '';
      await page(`/admin/console/sources/form?kind=${encodeURIComponent(hit.dataset.kind)}${found}`);
    } else if (hit.dataset.act) {
      const row = hit.closest('[data-source]');
      // The second click of a double one means what the first did: it confirms nothing.
      if (event.detail > 1) return;
      await alone(row, () => act(row, hit));
    } else if ('goOn' in hit.dataset) {
      await next();
      (current()?.querySelector('h2') || $('card')).focus();
    } else if (hit.dataset.end) {
      const answer = await call(`/admin/console/pending/${hit.dataset.end}/end`, {});
      if (!answer.ok) return soon();
      hit.closest('p').textContent = 'It is ended.';
    } else if (hit.dataset.rows) {
      const made = document.createElement('template');
      const answer = await call(hit.dataset.rows);
      if (!answer.ok) return soon();
      fill(made, await answer.text());
      hit.closest('tr').replaceWith(made.content);
    } else if (hit.dataset.next) {
      await unroll(hit.parentElement, hit.dataset.next, hit);
    } else if (hit.id === 'sign-out') {
      try { await call('/admin/console/sign-out', {}); } catch { /* then it has ended already */ }
      signedOut('You are signed out.');
    }
  });

  async function unroll(place, path, button) {
    const answer = await call(path);
    if (!answer.ok) return;
    const made = document.createElement('template');
    fill(made, await answer.text());
    if (button) button.remove();
    place.append(made.content);
  }

  document.addEventListener('toggle', (event) => {
    const path = event.target.dataset && event.target.dataset.everything;
    const place = path && event.target.querySelector('div');
    if (place && event.target.open && !place.firstChild) unroll(place, path);
  }, true);

  document.addEventListener('submit', (event) => {
    event.preventDefault();
    if (event.target.id === 'key-form') {
      const key = $('key').value.trim();
      $('key').value = '';
      if (key) signIn({ key });
    } else if (event.target.dataset.apply) {
      alone(event.target, () => applied(event.target));
    } else if (event.target.dataset.form) {
      alone(event.target, () => saved(event.target));
    } else if ('answer' in event.target.dataset) {
      // Enter in a field does nothing but in the reason, where it denies: nothing is approved by the way.
      const act = event.submitter?.value;
      if (act) answer(event.target, act);
    }
  });

  document.addEventListener('input', (event) => {
    const form = event.target.closest('form[data-answer]');
    if (form) sum(form);
  });

  for (const sign of ['keydown', 'pointerdown']) document.addEventListener(sign, () => { active = true; }, true);

  document.addEventListener('keydown', (event) => {
    const field = event.target.closest('input, textarea, select');
    if (field && event.key === 'Enter' && field.form && 'answer' in field.form.dataset) {
      event.preventDefault();
      if (field.id === 'reason') answer(field.form, 'deny');
      return;
    }
    if (field && event.key === 'Escape') return void current()?.querySelector('h2').focus();
    if (event.ctrlKey || event.metaKey || event.altKey || (field && field.type !== 'radio') || $('desk').hidden) return;
    const form = current()?.querySelector('form');
    switch (event.key.toLowerCase()) {
      case 'j': case 'k': {
        const rows = [...$('queue').querySelectorAll('.ticket')];
        const at = rows.findIndex((row) => row.dataset.id === open);
        const to = rows[event.key.toLowerCase() === 'j' ? at + 1 : at - 1];
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
  window.addEventListener('hashchange', () => { if (location.hash.startsWith('#plx_link_')) begin(); });
  document.addEventListener('visibilitychange', () => {
    if ($('desk').hidden) return;
    if (document.hidden) return hide();
    soon();
    listen();
  });
  setInterval(() => { if (!$('desk').hidden) soon(); }, 30000);
  begin();
})();
