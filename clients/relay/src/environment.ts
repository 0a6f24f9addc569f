// A store and a network, for RelayEnvironmentProvider.
import { Environment, Network, RecordSource, Store, type FetchFunction } from 'relay-runtime';

export function createEnvironment(url: string, token: string): Environment {
  const fetchAnswer: FetchFunction = async ({ text }, variables) => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: text, variables }),
    });
    return response.json();
  };
  return new Environment({
    network: Network.create(fetchAnswer),
    store: new Store(new RecordSource()),
  });
}
