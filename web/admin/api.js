//! Asks the admin listener; keeps the token in this tab. It shows nothing itself.

const KEY = 'tidegate.admin-token';
let token = sessionStorage.getItem(KEY) ?? '';

export function setToken(text) {
  token = text;
  if (text) sessionStorage.setItem(KEY, text); else sessionStorage.removeItem(KEY);
}

/** The server said no; `status` is HTTP's. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(path, options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(path, { ...options, headers, cache: 'no-store', signal: AbortSignal.timeout(8000) });
  const text = await response.text();
  const json = response.headers.get('content-type')?.startsWith('application/json');
  if (!response.ok && !json) throw new Refused(response.status, text.trim());
  return { status: response.status, body: JSON.parse(text) };
}

export const get = async (path) => (await send(path)).body;
export const post = (path, body = {}) => send(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

/** A method of the HTTP API; its error becomes an exception. */
export async function call(method, params) {
  const { body } = await post(`/admin/api/${method}`, params);
  if (body.error) throw new Refused(200, `${body.error.message} (${body.error.code})`);
  return body.result;
}
