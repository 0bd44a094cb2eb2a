/* What the password reset page says, in each language, and how a failure is put into words.
 * Nothing here touches the page.
 */
"use strict";

const TEXTS = {
  en: {
    title: "Reset your password",
    emailStep: "Step 1 of 3: your e-mail",
    email: "E-mail address of your account",
    send: "Send me a code",
    codeStep: "Step 2 of 3: the code",
    code: "Code from the e-mail",
    sentTo: "We sent a code of 6 digits to {email}. Only the newest code works. Look into the spam folder too.",
    maybeSentTo: "If {email} has an account here, a code of 6 digits is on its way there. Only the newest code works. Look into the spam folder too.",
    verify: "Check the code",
    resend: "Send a new code",
    resent: "A new code is on its way. The older ones do not work any more.",
    otherEmail: "Use another e-mail",
    passwordStep: "Step 3 of 3: a new password",
    password: "New password",
    passwordHint: "At least 8 characters. A few words together are easy to keep in mind.",
    show: "Show the password",
    change: "Set the password",
    newCode: "Ask for a new code",
    doneTitle: "Your password is changed",
    doneText: "Every other device was signed out, and a notice was mailed to you.",
    signedInAs: "You are signed in as {email}.",
    signOut: "Sign out",
    signedOut: "You are signed out.",
    offline: "No connection to the server. Trying again by itself; what you typed stays here.",
    restarting: "The server is restarting. Connecting again by itself; what you typed stays here.",
    online: "Connected again.",
    renewed: "The connection had to be renewed. Trying once more.",
    badEmail: "Type your whole e-mail address, such as name@example.org.",
    badCode: "Type the 6 digits from the e-mail.",
    tooShort: "The password is too short: use at least 8 characters.",
    tooLong: "The password is too long: use at most 128 characters.",
    aboutYou: "This is your e-mail address or your name. Choose something that others do not know about you.",
    breached: "Attackers try this password first: it was stolen somewhere, or many people use it. Choose another, such as a few words that have nothing to do with each other.",
    notSent: "The e-mail could not be delivered yet. If it does not come, check the address, or ask for a new code.",
    lateCode: "The code is no longer good: it expired, was replaced, or was used. Ask for a new code; your password stays typed.",
    unsure: "The server did not answer, so the password may be changed already. Try again, or sign in with the new password.",
    problems: {
      "no-user": "There is no account with this e-mail address. Check how it is written.",
      "wrong-code": "This code is not right, or no longer good. Compare it with the newest e-mail, or ask for a new code.",
      "no-socket": "The server does not take this connection for yours. Allow cookies for this site, reload the page, and start again.",
      WEAK_PASSWORD: "Choose another password:",
      RATE_LIMITED: "Too many tries. Wait {wait}, then try again.",
      CONTACT_LOCKED: "Too many wrong codes for this account. Ask the people who run this site for help.",
      NETWORK: "The server cannot be reached. Check your connection, then try again; what you typed stays here.",
      DRAINING: "The server is restarting. Try again in a moment; what you typed stays here.",
      BUSY: "The server is too busy now. Try again in a moment; what you typed stays here.",
      FORBIDDEN_ORIGIN: "This page was opened from an address that the server does not allow.",
      INTERNAL_ERROR: "Something went wrong on the server. Try again in a moment.",
      UNKNOWN: "The server refused this ({name}). Reload the page, and start again.",
    },
  },
  fr: {
    title: "Réinitialiser votre mot de passe",
    emailStep: "Étape 1 sur 3 : votre e-mail",
    email: "Adresse e-mail de votre compte",
    send: "M’envoyer un code",
    codeStep: "Étape 2 sur 3 : le code",
    code: "Code reçu par e-mail",
    sentTo: "Nous avons envoyé un code de 6 chiffres à {email}. Seul le dernier code est valable. Regardez aussi dans les indésirables.",
    maybeSentTo: "Si {email} a un compte ici, un code de 6 chiffres lui est envoyé. Seul le dernier code est valable. Regardez aussi dans les indésirables.",
    verify: "Vérifier le code",
    resend: "Envoyer un nouveau code",
    resent: "Un nouveau code est en route. Les précédents ne sont plus valables.",
    otherEmail: "Utiliser une autre adresse",
    passwordStep: "Étape 3 sur 3 : un nouveau mot de passe",
    password: "Nouveau mot de passe",
    passwordHint: "Au moins 8 caractères. Quelques mots à la suite se retiennent bien.",
    show: "Afficher le mot de passe",
    change: "Enregistrer le mot de passe",
    newCode: "Demander un nouveau code",
    doneTitle: "Votre mot de passe est changé",
    doneText: "Tous les autres appareils ont été déconnectés, et un avis vous a été envoyé par e-mail.",
    signedInAs: "Vous êtes connecté en tant que {email}.",
    signOut: "Se déconnecter",
    signedOut: "Vous êtes déconnecté.",
    offline: "Pas de connexion au serveur. Nouvel essai automatique ; ce que vous avez saisi est conservé.",
    restarting: "Le serveur redémarre. Reconnexion automatique ; ce que vous avez saisi est conservé.",
    online: "Connexion rétablie.",
    renewed: "La connexion a dû être renouvelée. Nouvel essai.",
    badEmail: "Saisissez votre adresse e-mail entière, par exemple nom@example.org.",
    badCode: "Saisissez les 6 chiffres reçus par e-mail.",
    tooShort: "Le mot de passe est trop court : au moins 8 caractères.",
    tooLong: "Le mot de passe est trop long : au plus 128 caractères.",
    aboutYou: "C’est votre adresse e-mail ou votre nom. Choisissez ce que les autres ne savent pas de vous.",
    breached: "Ce mot de passe est l’un des premiers essayés par les pirates : il a été volé quelque part, ou beaucoup l’utilisent. Choisissez-en un autre, par exemple quelques mots sans rapport entre eux.",
    notSent: "L’e-mail n’a pas encore pu être remis. S’il n’arrive pas, vérifiez l’adresse ou demandez un nouveau code.",
    lateCode: "Le code n’est plus valable : il a expiré, a été remplacé ou a déjà servi. Demandez un nouveau code ; votre mot de passe reste saisi.",
    unsure: "Le serveur n’a pas répondu : le mot de passe est peut-être déjà changé. Réessayez, ou connectez-vous avec le nouveau mot de passe.",
    problems: {
      "no-user": "Aucun compte n’a cette adresse e-mail. Vérifiez son orthographe.",
      "wrong-code": "Ce code est faux ou n’est plus valable. Comparez-le au dernier e-mail, ou demandez un nouveau code.",
      "no-socket": "Le serveur ne reconnaît pas cette connexion. Autorisez les cookies pour ce site, rechargez la page et recommencez.",
      WEAK_PASSWORD: "Choisissez un autre mot de passe :",
      RATE_LIMITED: "Trop d’essais. Attendez {wait}, puis réessayez.",
      CONTACT_LOCKED: "Trop de codes faux pour ce compte. Demandez de l’aide aux responsables de ce site.",
      NETWORK: "Le serveur est injoignable. Vérifiez votre connexion, puis réessayez ; ce que vous avez saisi est conservé.",
      DRAINING: "Le serveur redémarre. Réessayez dans un instant ; ce que vous avez saisi est conservé.",
      BUSY: "Le serveur est trop occupé. Réessayez dans un instant ; ce que vous avez saisi est conservé.",
      FORBIDDEN_ORIGIN: "Cette page a été ouverte depuis une adresse que le serveur n’autorise pas.",
      INTERNAL_ERROR: "Une erreur s’est produite sur le serveur. Réessayez dans un instant.",
      UNKNOWN: "Le serveur a refusé ({name}). Rechargez la page et recommencez.",
    },
  },
  es: {
    title: "Restablecer su contraseña",
    emailStep: "Paso 1 de 3: su correo",
    email: "Correo electrónico de su cuenta",
    send: "Enviarme un código",
    codeStep: "Paso 2 de 3: el código",
    code: "Código del correo",
    sentTo: "Hemos enviado un código de 6 cifras a {email}. Solo vale el código más reciente. Mire también en el correo no deseado.",
    maybeSentTo: "Si {email} tiene una cuenta aquí, un código de 6 cifras va de camino. Solo vale el código más reciente. Mire también en el correo no deseado.",
    verify: "Comprobar el código",
    resend: "Enviar un código nuevo",
    resent: "Un código nuevo va de camino. Los anteriores ya no valen.",
    otherEmail: "Usar otro correo",
    passwordStep: "Paso 3 de 3: una contraseña nueva",
    password: "Contraseña nueva",
    passwordHint: "Al menos 8 caracteres. Varias palabras juntas se recuerdan bien.",
    show: "Mostrar la contraseña",
    change: "Guardar la contraseña",
    newCode: "Pedir un código nuevo",
    doneTitle: "Su contraseña está cambiada",
    doneText: "Se cerró la sesión en los demás dispositivos y le hemos enviado un aviso por correo.",
    signedInAs: "Ha iniciado sesión como {email}.",
    signOut: "Cerrar sesión",
    signedOut: "Ha cerrado la sesión.",
    offline: "Sin conexión con el servidor. Se reintenta automáticamente; lo que ha escrito se conserva.",
    restarting: "El servidor se está reiniciando. Se reconecta automáticamente; lo que ha escrito se conserva.",
    online: "Conexión restablecida.",
    renewed: "Hubo que renovar la conexión. Se intenta de nuevo.",
    badEmail: "Escriba su correo completo, por ejemplo nombre@example.org.",
    badCode: "Escriba las 6 cifras del correo.",
    tooShort: "La contraseña es demasiado corta: al menos 8 caracteres.",
    tooLong: "La contraseña es demasiado larga: como mucho 128 caracteres.",
    aboutYou: "Es su correo o su nombre. Elija algo que los demás no sepan de usted.",
    breached: "Es una de las contraseñas que los atacantes prueban primero: fue robada en algún sitio o la usa mucha gente. Elija otra, por ejemplo varias palabras sin relación entre sí.",
    notSent: "El correo aún no se pudo entregar. Si no llega, compruebe la dirección o pida un código nuevo.",
    lateCode: "El código ya no vale: ha caducado, se ha sustituido o ya se usó. Pida un código nuevo; su contraseña sigue escrita.",
    unsure: "El servidor no respondió: quizá la contraseña ya esté cambiada. Inténtelo de nuevo o inicie sesión con la nueva.",
    problems: {
      "no-user": "No hay ninguna cuenta con este correo. Compruebe cómo está escrito.",
      "wrong-code": "Este código no es correcto o ya no vale. Compárelo con el último correo o pida un código nuevo.",
      "no-socket": "El servidor no reconoce esta conexión. Permita las cookies de este sitio, recargue la página y empiece de nuevo.",
      WEAK_PASSWORD: "Elija otra contraseña:",
      RATE_LIMITED: "Demasiados intentos. Espere {wait} e inténtelo de nuevo.",
      CONTACT_LOCKED: "Demasiados códigos erróneos para esta cuenta. Pida ayuda a los responsables de este sitio.",
      NETWORK: "No se puede llegar al servidor. Compruebe su conexión e inténtelo de nuevo; lo que ha escrito se conserva.",
      DRAINING: "El servidor se está reiniciando. Inténtelo en un momento; lo que ha escrito se conserva.",
      BUSY: "El servidor está demasiado ocupado. Inténtelo en un momento; lo que ha escrito se conserva.",
      FORBIDDEN_ORIGIN: "Esta página se abrió desde una dirección que el servidor no permite.",
      INTERNAL_ERROR: "Algo falló en el servidor. Inténtelo en un momento.",
      UNKNOWN: "El servidor lo rechazó ({name}). Recargue la página y empiece de nuevo.",
    },
  },
};

/* How the server's reasons against a password begin, and what we say instead. */
const WEAK = [
  ["it has fewer than", "tooShort"],
  ["it has more than", "tooLong"],
  ["it is your e-mail address", "aboutYou"],
  ["it is one of the passwords", "breached"],
];

/* The first of these languages that we speak; else English. */
function chooseLanguage(wanted) {
  const spoken = wanted.map((tag) => tag.toLowerCase().split("-")[0]);
  return spoken.find((language) => Object.hasOwn(TEXTS, language)) ?? "en";
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

function duration(language, seconds) {
  const [unit, count] = seconds < 100 ? ["second", seconds] : ["minute", Math.ceil(seconds / 60)];
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(count);
}

/* What went wrong with a call, from its HTTP status, envelope and Retry-After; null: nothing. */
function failureOf(status, answer, retryAfter) {
  const data = answer.data ?? {};
  let name = null;
  if (answer.error) name = String(answer.error).split(":")[0];
  else if (status !== 200) name = "UNKNOWN";
  else if (data.error || (data.status && data.status !== "ok")) name = String(data.status);
  if (name === null) return null;
  if (status === 429) name = "RATE_LIMITED";
  else if (name === "INVALID_SOCKET") name = "no-socket";
  else if (name === "wrong-otp") name = "wrong-code";
  else if (status >= 503 && name !== "DRAINING" && name !== "TIMEOUT") name = "BUSY";
  return { name, waitS: Math.ceil(Number(retryAfter)) || 0, reason: String(answer.reason ?? "") };
}

/* The words for a failure. */
function problemText(language, failure) {
  const texts = TEXTS[language];
  if (failure.name === "WEAK_PASSWORD") {
    const known = WEAK.find(([beginning]) => failure.reason.includes(beginning));
    return known ? texts[known[1]] : `${texts.problems.WEAK_PASSWORD} ${failure.reason}`;
  }
  const name = failure.name === "TIMEOUT" ? "BUSY" : failure.name;
  const text = Object.hasOwn(texts.problems, name) ? texts.problems[name] : texts.problems.UNKNOWN;
  return fill(text, { name, wait: duration(language, Math.max(1, failure.waitS)) });
}
