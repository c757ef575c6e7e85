"""``/auth``: register, log in, stay logged in, log out."""

from typing import Annotated

from fastapi import APIRouter, Depends, status
from fastapi.security import OAuth2PasswordRequestForm

from app.api.deps import Auth, ClientAddress, CurrentUser
from app.api.schemas.auth import ProfileUpdate, RefreshBody, RegisterBody, RegisteredUserRead, TokenRead, UserRead
from app.api.schemas.common import ErrorBody

router = APIRouter(prefix="/auth", tags=["auth"])


@router.post("/register", status_code=status.HTTP_201_CREATED)
async def register(body: RegisterBody, auth: Auth, address: ClientAddress) -> RegisteredUserRead:
    """Create an account on the Free plan."""
    user = await auth.register(email=body.email, password=body.password, full_name=body.full_name, address=address)
    return RegisteredUserRead.model_validate(user)


@router.post("/login")
async def login(form: Annotated[OAuth2PasswordRequestForm, Depends()], auth: Auth, address: ClientAddress) -> TokenRead:
    """Trade e-mail (as ``username``) and password for tokens; a form, as OAuth2 wants it."""
    return TokenRead.model_validate(await auth.login(email=form.username, password=form.password, address=address))


@router.post("/refresh")
async def refresh(body: RefreshBody, auth: Auth) -> TokenRead:
    """Trade a refresh token for a new pair; the old one is spent. One used twice ends its whole session."""
    return TokenRead.model_validate(await auth.refresh(body.refresh_token))


@router.post("/logout", status_code=status.HTTP_204_NO_CONTENT)
async def logout(body: RefreshBody, auth: Auth, _user: CurrentUser) -> None:
    """End the session of this refresh token."""
    await auth.logout(body.refresh_token)


@router.get("/me")
async def me(user: CurrentUser) -> UserRead:
    """The account behind the token."""
    return UserRead.model_validate(user)


@router.patch("/me", responses={409: {"model": ErrorBody, "description": "The handle is somebody else's"}})
async def update_me(body: ProfileUpdate, user: CurrentUser, auth: Auth) -> UserRead:
    """Change one's name, or the handle under which one's public presets are found."""
    return UserRead.model_validate(await auth.update_profile(user.id, body.model_dump(exclude_unset=True)))
