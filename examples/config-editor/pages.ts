import type { StageConflict, StagedEdit } from 'pslock'

/** The pages of the editor: plain HTML, without a script. */

const STYLE = `
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --line: #8884; --mine: #2563eb; }
  body { max-width: 40rem; margin: 2rem auto; padding: 0 1rem; }
  h1 { font-size: 1.4rem; }
  form { display: inline; }
  .setting { display: flex; gap: .5rem; align-items: center; padding: .4rem 0; border-bottom: 1px solid var(--line); }
  .setting label { flex: 0 0 5rem; }
  .setting input { flex: 1; min-width: 0; }
  .changed label { font-weight: bold; }
  .changed label::after { content: ' *'; color: var(--mine); }
  input, button { font: inherit; padding: .3rem .6rem; }
  .actions { display: flex; flex-wrap: wrap; gap: .5rem; margin: 1rem 0; }
  .undone { text-decoration: line-through; opacity: .6; }
  table { border-collapse: collapse; width: 100%; }
  th, td { text-align: left; padding: .4rem; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
  footer { margin-top: 2rem; font-size: .85rem; opacity: .7; }`

function escaped(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? '(removed)')
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)
}

function page(title: string, body: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${title}</title><style>${STYLE}</style><h1>${title}</h1>${body}</html>`
}

function button(action: string, label: string, at: number, isOff = false): string {
  return `<form method="post" action="/${action}"><input type="hidden" name="at" value="${at}">
<button ${isOff ? 'disabled' : ''}>${label}</button></form>`
}

export interface Editor {
  readonly settings: Readonly<Record<string, string>>
  readonly edits: readonly StagedEdit[]
  /** The changes of the stage that this page shows. */
  readonly at: number
  readonly process: number
}

export function editorPage({ settings, edits, at, process }: Editor): string {
  const done = edits.filter(({ isUndone }) => !isUndone)
  const changed = new Set(done.flatMap(({ changes }) => changes.map(({ path }) => path)))
  const rows = Object.entries(settings).map(
    ([
      name,
      value,
    ]) => `<form method="post" action="/set" class="setting ${changed.has(`settings.${name}`) ? 'changed' : ''}">
<label for="${escaped(name)}">${escaped(name)}</label><input type="hidden" name="at" value="${at}">
<input type="hidden" name="name" value="${escaped(name)}"><input id="${escaped(name)}" name="value" value="${escaped(value)}">
<button>Change</button></form>`,
  )
  const list = edits.map(
    ({ changes, isUndone }) =>
      `<li class="${isUndone ? 'undone' : ''}">${changes
        .map(({ path, before, after }) => `${escaped(path)}: ${escaped(before)} → ${escaped(after)}`)
        .join(', ')}</li>`,
  )
  return page(
    'Configuration',
    `${rows.join('')}<div class="actions">${button('undo', 'Undo', at, done.length === 0)}
${button('redo', 'Redo', at, done.length === edits.length)}
${button('save', 'Save for everybody', at, done.length === 0)}
${button('cancel', 'Cancel', at, edits.length === 0)}</div>
${list.length > 0 ? `<p>Your changes, which nobody else sees yet:</p><ol>${list.join('')}</ol>` : '<p>Nothing is changed yet.</p>'}
<footer>Answered by process ${process}.</footer>`,
  )
}

export function conflictPage(conflicts: readonly StageConflict[], at: number): string {
  const choice = (path: string, what: 'mine' | 'theirs', value: unknown) =>
    `<label><input type="radio" required name="${escaped(path)}" value="${what}"> ${escaped(value)}</label>`
  const rows = conflicts.map(
    ({ path, base, mine, theirs }) => `<tr><th>${escaped(path)}</th><td>${escaped(base)}</td>
<td>${choice(path, 'mine', mine)}</td><td>${choice(path, 'theirs', theirs)}
<input type="hidden" name="theirs ${escaped(path)}" value="${escaped(theirs)}"></td></tr>`,
  )
  return page(
    'Somebody else has changed the same',
    `<p>Nothing was saved. Choose what is to be taken; your other changes are saved, too.</p>
<form method="post" action="/save"><input type="hidden" name="at" value="${at}">
<table><tr><th>Setting</th><th>It was</th><th>Yours</th><th>Theirs</th></tr>${rows.join('')}</table>
<div class="actions"><button>Save</button><a href="/">Back to the editor</a></div></form>`,
  )
}

export function messagePage(message: string): string {
  return page('Not saved', `<p>${escaped(message)}</p><p><a href="/">Back to the editor</a></p>`)
}
