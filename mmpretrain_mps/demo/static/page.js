'use strict';
// Names and messages become text and nothing else: nothing here writes HTML.

const find = (selector, root = document) => root.querySelector(selector);
const classes = [];
const SHOWN_PICTURES = 12, SHOWN_CLASSES = 5, POLL_MILLISECONDS = 300;
const BRANCHES = {zero_shot: 'zero-shot', tuned: 'tuned', fused: 'fused'};
const endings = document.body.dataset.endings.split(' ');
let tab, timer;

function make(tag, attributes = {}, ...children) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
}

const percent = share => `${(100 * share).toFixed(1)} %`;
const counted = (number, noun) => `${number} ${noun}${number === 1 ? '' : 's'}`;

function tell(element, text) {
  element.textContent = text;
  element.hidden = !text;
}

// Requests.

async function ask(path, method = 'GET', body = null) {
  let answer;
  try {
    answer = await fetch(path, {method, body});
  } catch {
    throw Error('nothing could be sent: either the program behind this page has ended (start mps-clip demo again, and open its ' +
      'address), or a file was moved or changed since it was chosen');
  }
  const found = answer.status === 204 ? {} : await answer.json().catch(() => ({error: `the program answered ${answer.status}`}));
  if (!answer.ok) throw Error(found.error);
  return found;
}

// Let a section do something, and show in it what went wrong.
async function attempt(section, action) {
  const fault = find(`#${section} > .fault`);
  tell(fault, '');
  try {
    await action();
  } catch (error) {
    tell(fault, error.message);
  }
}

// Pictures.

function thumbnail(file) {
  const image = make('img', {alt: file.name, title: file.name, src: URL.createObjectURL(file)});
  const release = () => URL.revokeObjectURL(image.src);
  image.addEventListener('load', release);
  image.addEventListener('error', release);
  return image;
}

function addClass(name = '', train = [], test = []) {
  const card = find('#card').content.cloneNode(true).firstElementChild;
  const entry = {card, train, test};
  find('.name', card).value = name;
  find('.remove', card).addEventListener('click', () => {
    classes.splice(classes.indexOf(entry), 1);
    card.remove();
  });
  takeFiles(find('.drop', card), found => {
    entry.train.push(...found.map(({file}) => file));
    showClass(entry);
  });
  classes.push(entry);
  find('#cards').append(card);
  showClass(entry);
  return entry;
}

function showClass({card, train, test}) {
  const buttons = train.slice(0, SHOWN_PICTURES).map(file => {
    const button = make('button', {type: 'button', title: `Remove ${file.name}`}, thumbnail(file));
    button.addEventListener('click', () => {
      train.splice(train.indexOf(file), 1);
      showClass({card, train, test});
    });
    return button;
  });
  find('.pictures', card).replaceChildren(...buttons);
  const more = train.length > SHOWN_PICTURES ? `, ${SHOWN_PICTURES} shown` : '';
  find('.count', card).textContent = counted(train.length, 'picture') + more + (test.length ? `, ${test.length} to test on` : '');
}

// Take files that are chosen in a label's input, or dropped on the label, as a list of {path, file}.
function takeFiles(zone, use) {
  const input = find('input', zone);
  input.addEventListener('change', () => {
    use([...input.files].map(file => ({path: file.webkitRelativePath || file.name, file})));
    input.value = '';
  });
  takeDrops(zone, use);
}

function takeDrops(zone, use) {
  const mark = on => event => {
    if (![...event.dataTransfer.types].includes('Files')) return;
    event.preventDefault();
    event.stopPropagation();
    zone.classList.toggle('over', on);
  };
  zone.addEventListener('dragover', mark(true));
  zone.addEventListener('dragleave', mark(false));
  zone.addEventListener('drop', async event => {
    mark(false)(event);
    // The entries are gone after the first pause.
    const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry()).filter(entry => entry);
    use((await Promise.all(entries.map(entry => filesBelow(entry)))).flat());
  });
}

async function filesBelow(entry) {
  if (entry.isFile) {
    return [{path: entry.fullPath.replace(/^\//, ''), file: await new Promise((good, bad) => entry.file(good, bad))}];
  }
  const reader = entry.createReader(), found = [];
  for (;;) {  // a reader gives a hundred at a time
    const part = await new Promise((good, bad) => reader.readEntries(good, bad));
    if (!part.length) return found;
    found.push(...(await Promise.all(part.map(filesBelow))).flat());
  }
}

const isPicture = path => !path.split('/').some(part => part.startsWith('.')) &&
  endings.some(ending => path.toLowerCase().endsWith(ending));

// Classes of FOLDER/<class>/..., of FOLDER/train/<class>/... with FOLDER/test/<class>/..., or of folders of classes themselves.
function takeFolder(found) {
  const pictures = found.filter(({path}) => isPicture(path)).map(({path, file}) => ({parts: path.split('/'), file}));
  if (new Set(pictures.map(({parts}) => parts[0])).size === 1 && pictures.some(({parts}) => parts.length > 2)) {
    for (const picture of pictures) picture.parts.shift();
  }
  const divided = pictures.length && pictures.every(({parts}) => ['train', 'val', 'test'].includes(parts[0])) &&
    pictures.some(({parts}) => parts[0] === 'train' && parts.length > 2);
  const groups = new Map();
  let left = found.length - pictures.length;
  for (const {parts, file} of pictures) {
    const [subset, name] = divided ? [parts[0], parts.length > 2 && parts[1]] : ['train', parts.length > 1 && parts[0]];
    if (!name || subset === 'val') {
      left += 1;
      continue;
    }
    if (!groups.has(name)) groups.set(name, {train: [], test: []});
    groups.get(name)[subset].push(file);
  }
  if (!groups.size) throw Error('the folder holds no folders with pictures; expected one folder per class');
  for (const entry of classes.filter(({train, test, card}) => !train.length && !test.length && !find('.name', card).value)) {
    find('.remove', entry.card).click();
  }
  for (const [name, {train, test}] of [...groups].sort(([a], [b]) => a < b ? -1 : 1)) addClass(name, train, test);
  tell(find('#folder-note'), `${groups.size} ${groups.size === 1 ? 'class' : 'classes'} opened` +
    (left ? `; ${counted(left, 'file')} passed over, which are no pictures or lie in no folder of a class` : ''));
}

// Training.

function orderOf() {
  const form = find('#options'), number = name => form[name].value === '' ? null : Number(form[name].value);
  if (!form.reportValidity()) return null;
  const options = {method: form.method.value, shots: number('shots'), epochs: form.epochs.disabled ? null : number('epochs'),
    test_share: number('share') / 100};
  const data = new FormData();
  data.append('order', JSON.stringify({names: classes.map(({card}) => find('.name', card).value), options}));
  classes.forEach(({train, test}, place) => {
    for (const [subset, files] of Object.entries({train, test})) {
      for (const file of files) data.append(`${subset}-${place}`, file, file.name);
    }
  });
  return data;
}

function showRunning(running, text = '') {
  find('#start').disabled = find('#load').disabled = running;
  find('#cancel').hidden = find('#progress').hidden = !running;
  find('#progress [role=status]').textContent = text;
}

function showSteps([done, total]) {
  const bar = find('progress');
  if (total) bar.value = done / total;
  else bar.removeAttribute('value');
  showRunning(true, !total ? 'preparing' : done < total ? `step ${done} of ${total}` : 'testing');
}

function start() {
  return attempt('tune', async () => {
    const order = orderOf();
    if (!order) return;
    showSteps([0, 0]);
    try {
      await ask(`/tabs/${tab}/tuning`, 'POST', order);
    } catch (error) {
      showRunning(false);
      throw error;
    }
    timer = setTimeout(watch, POLL_MILLISECONDS);
  });
}

function watch() {
  return attempt('tune', async () => {
    let found;
    try {
      found = await ask(`/tabs/${tab}/tuning`);
    } catch (error) {
      showRunning(false);
      throw error;
    }
    if (found.running) {
      showSteps(found.steps);
      timer = setTimeout(watch, POLL_MILLISECONDS);
      return;
    }
    showRunning(false);
    if (found.fault) throw Error(found.fault);
    if (found.classes) showModel(found.classes, found);
  });
}

function cancel() {
  clearTimeout(timer);
  return attempt('tune', async () => {
    await ask(`/tabs/${tab}/tuning`, 'DELETE');
    showRunning(false);
    tell(find('#model-note'), 'Cancelled.');
  });
}

function load([file]) {
  const data = new FormData();
  data.append('model', file.file, file.file.name);
  return attempt('tune', async () => showModel((await ask(`/tabs/${tab}/model.pth`, 'POST', data)).classes));
}

// Show what there is to know of a model: names, and of one that was tuned here its outcome.
function showModel(names, outcome = null) {
  const list = names.slice(0, 10).join(', ') + (names.length > 10 ? ', ...' : '');
  tell(find('#model-note'), `The model tells ${names.length} classes apart: ${list}.` +
    (outcome && !outcome.confusion ? ' No pictures were held out to test it on.' : ''));
  const link = find('#save');
  link.href = `/tabs/${tab}/model.pth`;
  link.hidden = false;
  find('#predictions').replaceChildren();
  find('#csv').hidden = true;
  const report = find('#report');
  report.hidden = !outcome || !outcome.confusion;
  report.replaceChildren(...(report.hidden ? [] : [accuracyTable(outcome.accuracies), confusionTable(names, outcome.confusion)]));
}

function table(headings, rows, kind = '') {
  const head = headings.map(text => make('th', {scope: 'col', textContent: text}));
  const body = rows.map(([name, ...cells]) => make('tr', {}, make('th', {scope: 'row', textContent: name}), ...cells));
  return make('div', {className: 'wide', tabIndex: 0},
    make('table', {className: kind}, make('thead', {}, make('tr', {}, ...head)), make('tbody', {}, ...body)));
}

function cell(text, share) {
  const element = make('td', {textContent: text});
  if (share !== undefined) element.style.setProperty('--share', share);
  return element;
}

function accuracyTable(accuracies) {
  return make('figure', {}, make('figcaption', {textContent: 'Accuracy on the held-out pictures'}),
    table(['', 'accuracy'], Object.entries(BRANCHES).map(([key, name]) => [name, cell(percent(accuracies[key]))])));
}

function confusionTable(names, confusion) {
  const rows = confusion.map((row, place) => {
    const all = Math.max(1, row.reduce((sum, number) => sum + number, 0));
    return [names[place], ...row.map(number => cell(number || '·', number / all))];
  });
  const caption = 'Held-out pictures: rows are their classes, columns the (fused) predictions';
  return make('figure', {}, make('figcaption', {textContent: caption}),
    table(['', ...names], rows, 'confusion'));
}

// Prediction.

function classify(found) {
  return attempt('classify', async () => {
    const note = find('#classify > .note'), data = new FormData();
    for (const {path, file} of found) data.append('pictures', file, path);
    tell(note, `Classifying ${counted(found.length, 'picture')}`);
    try {
      const {classes: names, rows} = await ask(`/tabs/${tab}/predictions`, 'POST', data);
      find('#predictions').replaceChildren(...rows.map((row, place) => predictionCard(names, row, found[place].file)));
      const link = find('#csv');
      link.href = `/tabs/${tab}/predictions.csv`;
      link.hidden = false;
    } finally {
      tell(note, '');
    }
  });
}

function predictionCard(names, row, file) {
  const card = make('article', {className: 'card prediction'}, thumbnail(file));
  if (row.fault) {
    card.append(make('p', {className: 'file', textContent: row.name}),
      make('p', {className: 'fault', textContent: `this picture cannot be read: ${row.fault}`}));
    return card;
  }
  const order = names.map((_, place) => place).sort((a, b) => row.fused[b] - row.fused[a]);
  const title = make('h3', {textContent: `${names[order[0]]}, ${percent(row.fused[order[0]])}`});
  const rows = order.slice(0, SHOWN_CLASSES).map(place =>
    [names[place], ...Object.keys(BRANCHES).map(branch => cell(percent(row[branch][place]), row[branch][place]))]);
  card.append(make('div', {}, title, make('p', {className: 'file', textContent: row.name})),
    table(['', ...Object.values(BRANCHES)], rows));
  return card;
}

// Wiring.

async function begin() {
  addClass();
  addClass();
  find('#add').addEventListener('click', () => find('.name', addClass().card).focus());
  takeFiles(find('#folder').parentElement, found => attempt('classes', () => takeFolder(found)));
  takeDrops(find('#classes'), found => attempt('classes', () => takeFolder(found)));
  takeFiles(find('#load').parentElement, load);
  takeFiles(find('#new').parentElement, classify);
  takeDrops(find('#classify'), classify);
  find('#start').addEventListener('click', start);
  find('#cancel').addEventListener('click', cancel);
  const form = find('#options'), showEpochs = () => {
    form.epochs.disabled = !form.method.selectedOptions[0].dataset.epochs;
    form.epochs.placeholder = form.epochs.disabled ? 'none' : 'as in the recipe';
  };
  form.method.addEventListener('change', showEpochs);
  form.addEventListener('submit', event => event.preventDefault());
  showEpochs();
  // A file that is dropped beside a zone would take the place of the page.
  for (const kind of ['dragover', 'drop']) addEventListener(kind, event => event.preventDefault());
  addEventListener('pagehide', () => navigator.sendBeacon(`/tabs/${tab}/end`));
  addEventListener('pageshow', event => event.persisted && location.reload());
  addEventListener('beforeunload', event => classes.some(({train}) => train.length) && event.preventDefault());
  await attempt('classes', async () => { ({tab} = await ask('/tabs', 'POST')); });
  document.body.dataset.ready = 'yes';
}

begin();
